#include "certs/bundle.hpp"

#include "base/encoding.hpp"
#include "certs/pem.hpp"
#include "certs/x509.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace skald::certs {
namespace {

constexpr std::string_view role_prefix = "urn:skald:role:";

std::unexpected<failure> refuse(std::string_view path, std::string_view what, std::string hint = {}) {
  return std::unexpected(failure{fmt::format("{}: {}", path, what), std::move(hint)});
}

struct file_handle {
  int fd = -1;
  ~file_handle() {
    if (fd >= 0) ::close(fd);
  }
};

// The permission is asked of the open file, so nobody can swap it between the look and the read.
outcome<std::string> read_private_file(const std::string& path) {
  const file_handle file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0)
    return refuse(path, fmt::format("cannot be read: {}", std::strerror(errno)),
                  "a bundle is made where the CA is, with: skald cert issue NAME");
  struct stat info {};
  if (::fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) return refuse(path, "is not a regular file");
  if ((info.st_mode & 077) != 0)
    return refuse(path, fmt::format("holds a private key, but others can read it (mode {:04o})", info.st_mode & 07777),
                  fmt::format("chmod 600 {}", path));
  if (static_cast<std::size_t>(info.st_size) > bundle_bytes_max) return refuse(path, "is too large to be a bundle");
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const auto n = ::read(file.fd, text.data() + have, text.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return refuse(path, "cannot be read to its end");
    have += static_cast<std::size_t>(n);
  }
  return text;
}

// The block SKALD CLUSTER. Unknown members are ignored: a later version may add some.
bool read_cluster_block(std::string_view json_text, bundle& out) {
  const auto json = nlohmann::json::parse(json_text, nullptr, false);
  if (!json.is_object() || json.value("version", nlohmann::json()) != 1) return false;
  const auto domain = json.find("domain"), seeds = json.find("seeds"), founder = json.find("founder");
  if (domain == json.end() || !domain->is_string()) return false;
  out.domain = to_lower(domain->get<std::string>());
  if (seeds != json.end()) {
    if (!seeds->is_array()) return false;
    for (const auto& seed : *seeds) {
      if (!seed.is_string()) return false;
      out.seeds.push_back(seed.get<std::string>());
    }
  }
  if (founder != json.end()) {
    if (!founder->is_boolean()) return false;
    out.founder = founder->get<bool>();
  }
  return true;
}

struct raw_blocks {
  std::string key, cluster;
  std::vector<std::string> certificates;
};

outcome<raw_blocks> sort_blocks(std::string_view text, std::string_view path) {
  auto blocks = pem_decode(text);
  if (!blocks) return refuse(path, "is not a bundle: its PEM blocks are damaged");
  raw_blocks out;
  for (auto& block : *blocks) {
    if (block.label == "PRIVATE KEY") out.key = std::move(block.bytes);
    if (block.label == "CERTIFICATE") out.certificates.push_back(std::move(block.bytes));
    if (block.label == "SKALD CLUSTER") out.cluster = std::move(block.bytes);
  }
  const char* const absent = out.key.empty()                ? "PRIVATE KEY"
                             : out.certificates.empty()     ? "CERTIFICATE of the node"
                             : out.certificates.size() == 1 ? "CERTIFICATE of the CA"
                             : out.cluster.empty()          ? "SKALD CLUSTER"
                                                            : nullptr;
  if (absent) return refuse(path, fmt::format("is not a complete bundle: the block {} is missing", absent));
  return out;
}

bool key_matches(gnutls_x509_privkey_t key, gnutls_x509_crt_t crt) {
  unsigned char a[64], b[64];
  std::size_t a_size = sizeof a, b_size = sizeof b;
  return gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, a, &a_size) == 0 &&
         gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, b, &b_size) == 0 && a_size == b_size &&
         std::memcmp(a, b, a_size) == 0;
}

// Empty: a node may start with it.
failure problem_of(const bundle& b, unix_ms now) {
  const auto crt = import_crt(b.certificate), ca = import_crt(b.ca);
  if (!crt || !ca) return {"its certificates are damaged"};
  if (!is_ca(ca->get())) return {"wrong CA: the second certificate in it is not a CA's"};
  if (!signed_by(crt->get(), ca->get())) return {"wrong CA: the node's certificate is not signed by the CA beside it"};
  if (is_ca(crt->get()) || !has_purpose(crt->get(), GNUTLS_KP_TLS_WWW_SERVER) ||
      !has_purpose(crt->get(), GNUTLS_KP_TLS_WWW_CLIENT))
    return {"wrong usage: a node's certificate is for serverAuth and clientAuth, both", "issue a new one with: skald cert issue"};
  if (now < b.not_before)
    return {fmt::format("certificate not yet valid: it begins on {}", date_text(b.not_before)), "is this machine's clock right?"};
  if (now > b.not_after)
    return {fmt::format("certificate expired on {}", date_text(b.not_after)), fmt::format("issue a new one where the CA is: skald cert issue {}", b.name)};
  if (now > not_after_of(ca->get())) return {fmt::format("the CA's certificate expired on {}", date_text(not_after_of(ca->get())))};
  return {};
}

} // namespace

result<subject> subject_of(std::string_view certificate_der) {
  const auto crt = import_crt(certificate_der);
  if (!crt) return std::unexpected(crt.error());
  const auto names = alt_names_of(crt->get());
  subject out;
  for (const auto& uri : names.uris) {
    if (uri.starts_with("sip:") && out.domain.empty()) out.domain = to_lower(uri.substr(4));
    if (uri.starts_with(role_prefix)) out.roles.push_back(uri.substr(role_prefix.size()));
  }
  if (out.domain.empty()) return std::unexpected(errc::missing);
  for (const auto& dns : names.dns) {
    const auto dot = dns.find('.');
    if (dot != std::string::npos && dot > 0 && equal_nocase(std::string_view(dns).substr(dot + 1), out.domain)) {
      out.name = dns.substr(0, dot);
      return out;
    }
  }
  return std::unexpected(errc::missing);
}

outcome<bundle> read_bundle(const std::string& path) {
  const auto text = read_private_file(path);
  if (!text) return std::unexpected(text.error());
  auto blocks = sort_blocks(*text, path);
  if (!blocks) return std::unexpected(blocks.error());
  bundle out;
  if (!read_cluster_block(blocks->cluster, out)) return refuse(path, "its block SKALD CLUSTER is damaged or of another version");
  const auto crt = import_crt(blocks->certificates[0]);
  const auto key = import_key(blocks->key);
  if (!crt || !import_crt(blocks->certificates[1])) return refuse(path, "its certificates are damaged");
  if (!key) return refuse(path, "its private key is damaged");
  if (!key_matches(key->get(), crt->get())) return refuse(path, "the private key in it is not that of its certificate");
  auto who = subject_of(blocks->certificates[0]);
  if (!who) return refuse(path, "its certificate names no node of a cluster");
  if (who->domain != out.domain) return refuse(path, "its certificate is for another domain than its block SKALD CLUSTER says");
  const auto id = node_id_of(crt->get());
  if (!id) return refuse(path, "its certificates are damaged");
  out.id = *id;
  out.name = std::move(who->name);
  out.roles = std::move(who->roles);
  out.not_before = not_before_of(crt->get());
  out.not_after = not_after_of(crt->get());
  out.certificate = std::move(blocks->certificates[0]);
  out.ca = std::move(blocks->certificates[1]);
  out.key = std::move(blocks->key);
  return out;
}

outcome<void> check_bundle(const bundle& b, unix_ms now, std::string_view path) {
  auto problem = problem_of(b, now);
  if (problem.what.empty()) return {};
  return refuse(path, problem.what, std::move(problem.hint));
}

outcome<bundle> load_bundle(const std::string& path, unix_ms now) {
  auto b = read_bundle(path);
  if (!b) return b;
  if (auto checked = check_bundle(*b, now, path); !checked) return std::unexpected(std::move(checked.error()));
  return b;
}

description describe(const bundle& b, unix_ms now) {
  const auto crt = import_crt(b.certificate), ca = import_crt(b.ca);
  SKALD_ASSERT(crt && ca); // a bundle is only made by read_bundle
  auto names = alt_names_of(crt->get());
  return {.name = b.name,
          .domain = b.domain,
          .serial = serial_of(crt->get()),
          .issuer = common_name_of(crt->get(), true),
          .fingerprint = fingerprint_of(crt->get()),
          .id = b.id,
          .roles = b.roles,
          .seeds = b.seeds,
          .dns_names = std::move(names.dns),
          .uris = std::move(names.uris),
          .founder = b.founder,
          .not_before = b.not_before,
          .not_after = b.not_after,
          .ca_fingerprint = fingerprint_of(ca->get()),
          .ca_not_after = not_after_of(ca->get()),
          .problem = problem_of(b, now).what};
}

} // namespace skald::certs
