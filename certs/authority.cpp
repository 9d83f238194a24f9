#include "certs/authority.hpp"

#include "base/encoding.hpp"
#include "certs/bundle.hpp"
#include "certs/files.hpp"
#include "certs/pem.hpp"
#include "certs/x509.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <nlohmann/json.hpp>

namespace skald::certs {
namespace {

std::unexpected<failure> refuse(std::string what, std::string hint = {}) {
  return std::unexpected(failure{std::move(what), std::move(hint)});
}

struct paths {
  std::string key, certificate, state;
  explicit paths(const std::string& directory)
      : key(directory + "/ca.key"), certificate(directory + "/ca.pem"), state(directory + "/cluster.json") {}
};

bool is_label(std::string_view s) { // RFC 1123 §2.1
  const auto good = [](char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !s.empty() && s.size() <= 63 && s.front() != '-' && s.back() != '-' && std::ranges::all_of(s, good);
}

bool is_domain(std::string_view s) {
  if (s.empty() || s.size() > 189) return false; // room for NAME. in front within 253
  for (std::size_t at = 0; at <= s.size();) {
    const auto dot = std::min(s.find('.', at), s.size());
    if (!is_label(s.substr(at, dot - at))) return false;
    at = dot + 1;
  }
  return true;
}

// GnuTLS refuses nearly nothing here but a lack of memory, so a failure is an assertion.
void must(int rc) { SKALD_ASSERT(rc >= 0); }

key_ptr make_key() {
  auto key = new_key();
  must(gnutls_x509_privkey_generate(key.get(), GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
  return key;
}

std::string pkcs8_of(gnutls_x509_privkey_t key) {
  gnutls_datum_t out{};
  must(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_DER, nullptr, GNUTLS_PKCS_PLAIN, &out));
  return take(out);
}

// What the two kinds of certificate share: version, serial, name, time, key and its identifier.
crt_ptr blank_certificate(gnutls_x509_privkey_t key, const std::string& common_name, unix_ms now, std::chrono::hours lifetime) {
  auto crt = new_crt();
  unsigned char serial[16];
  must(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial));
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40); // positive, and always 16 bytes (RFC 5280 §4.1.2.2)
  const auto first = std::chrono::milliseconds(now) - backdated, last = std::chrono::milliseconds(now) + lifetime;
  must(gnutls_x509_crt_set_version(crt.get(), 3));
  must(gnutls_x509_crt_set_serial(crt.get(), serial, sizeof serial));
  must(gnutls_x509_crt_set_dn_by_oid(crt.get(), GNUTLS_OID_X520_COMMON_NAME, 0, common_name.data(), static_cast<unsigned>(common_name.size())));
  must(gnutls_x509_crt_set_activation_time(crt.get(), std::chrono::duration_cast<seconds>(first).count()));
  must(gnutls_x509_crt_set_expiration_time(crt.get(), std::chrono::duration_cast<seconds>(last).count()));
  must(gnutls_x509_crt_set_key(crt.get(), key));
  unsigned char id[20];
  std::size_t size = sizeof id;
  must(gnutls_x509_crt_get_key_id(crt.get(), GNUTLS_KEYID_USE_SHA1, id, &size));
  must(gnutls_x509_crt_set_subject_key_id(crt.get(), id, size));
  return crt;
}

void add_name(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t type, const std::string& name) {
  must(gnutls_x509_crt_set_subject_alt_name(crt, type, name.data(), static_cast<unsigned>(name.size()), GNUTLS_FSAN_APPEND));
}

// A common name is at most 64 characters (RFC 5280 §A.1); the true names are the SANs.
std::string short_name(const std::string& name) { return name.size() > 64 ? name.substr(0, 64) : name; }

crt_ptr make_ca(gnutls_x509_privkey_t key, const std::string& domain, unix_ms now) {
  auto crt = blank_certificate(key, short_name("skald CA " + domain), now, ca_lifetime);
  must(gnutls_x509_crt_set_basic_constraints(crt.get(), 1, 0));
  must(gnutls_x509_crt_set_key_usage(crt.get(), GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
  must(gnutls_x509_crt_sign2(crt.get(), crt.get(), key, GNUTLS_DIG_SHA256, 0));
  return crt;
}

struct authority {
  crt_ptr certificate;
  key_ptr key;
  nlohmann::json state;
  std::string domain;
};

std::string from_hex_or_empty(const std::string& hex) { return from_hex(hex).value_or(std::string{}); }

// RFC 5280 §5. Its number is the time in ms: what the cluster's keys are compared with (consistency.md §8).
std::string make_crl(const authority& ca, std::uint64_t number, unix_ms now) {
  gnutls_x509_crl_t raw = nullptr;
  must(gnutls_x509_crl_init(&raw));
  const crl_ptr crl(raw);
  must(gnutls_x509_crl_set_version(raw, 2));
  must(gnutls_x509_crl_set_this_update(raw, now / 1000));
  must(gnutls_x509_crl_set_next_update(raw, (std::chrono::milliseconds(now) + ca_lifetime).count() / 1000)); // it holds for good
  std::string bytes;
  put_be(bytes, number);
  must(gnutls_x509_crl_set_number(raw, bytes.data(), bytes.size()));
  for (const auto& entry : ca.state["issued"]) {
    if (!entry.is_object() || !entry.contains("revoked")) continue;
    const std::string serial = from_hex_or_empty(entry.value("serial", ""));
    if (!serial.empty()) must(gnutls_x509_crl_set_crt_serial(raw, serial.data(), serial.size(), entry.value("revoked", std::int64_t{0}) / 1000));
  }
  unsigned char id[64];
  std::size_t size = sizeof id;
  must(gnutls_x509_crt_get_subject_key_id(ca.certificate.get(), id, &size, nullptr));
  must(gnutls_x509_crl_set_authority_key_id(raw, id, size));
  must(gnutls_x509_crl_sign2(raw, ca.certificate.get(), ca.key.get(), GNUTLS_DIG_SHA256, 0));
  gnutls_datum_t out{};
  must(gnutls_x509_crl_export2(raw, GNUTLS_X509_FMT_DER, &out));
  return take(out);
}

crt_ptr make_node(gnutls_x509_privkey_t key, const authority& ca, const issue_request& request, unix_ms now) {
  const std::string host = request.name + '.' + ca.domain;
  auto crt = blank_certificate(key, short_name(host), now, node_lifetime);
  must(gnutls_x509_crt_set_basic_constraints(crt.get(), 0, -1));
  must(gnutls_x509_crt_set_key_usage(crt.get(), GNUTLS_KEY_DIGITAL_SIGNATURE));
  must(gnutls_x509_crt_set_key_purpose_oid(crt.get(), GNUTLS_KP_TLS_WWW_SERVER, 0));
  must(gnutls_x509_crt_set_key_purpose_oid(crt.get(), GNUTLS_KP_TLS_WWW_CLIENT, 0));
  add_name(crt.get(), GNUTLS_SAN_DNSNAME, host);
  add_name(crt.get(), GNUTLS_SAN_DNSNAME, ca.domain);
  add_name(crt.get(), GNUTLS_SAN_URI, "sip:" + ca.domain); // RFC 5922 §7.1
  for (const auto& role : request.roles) add_name(crt.get(), GNUTLS_SAN_URI, "urn:skald:role:" + role);
  unsigned char id[64];
  std::size_t size = sizeof id;
  must(gnutls_x509_crt_get_subject_key_id(ca.certificate.get(), id, &size, nullptr));
  must(gnutls_x509_crt_set_authority_key_id(crt.get(), id, size));
  must(gnutls_x509_crt_sign2(crt.get(), ca.certificate.get(), ca.key.get(), GNUTLS_DIG_SHA256, 0));
  return crt;
}

outcome<authority> open_authority(const std::string& directory, unix_ms now) {
  const paths at(directory);
  if (!file_exists(at.key) || !file_exists(at.certificate))
    return refuse(directory + ": there is no cluster CA here", "make one with: skald cluster init DOMAIN, or name its directory with --dir");
  const auto key_text = read_file(at.key), crt_text = read_file(at.certificate), state_text = read_file(at.state);
  for (const auto* text : {&key_text, &crt_text, &state_text})
    if (!*text) return std::unexpected(text->error());
  const auto key_blocks = pem_decode(*key_text), crt_blocks = pem_decode(*crt_text);
  if (!key_blocks || key_blocks->empty()) return refuse(at.key + ": is not a private key");
  if (!crt_blocks || crt_blocks->empty()) return refuse(at.certificate + ": is not a certificate");
  auto key = import_key(key_blocks->front().bytes);
  auto crt = import_crt(crt_blocks->front().bytes);
  if (!key) return refuse(at.key + ": is not a private key");
  if (!crt) return refuse(at.certificate + ": is not a certificate");
  if (now > not_after_of(crt->get())) return refuse(fmt::format("{}: the CA expired on {}", at.certificate, date_text(not_after_of(crt->get()))));
  auto state = nlohmann::json::parse(*state_text, nullptr, false);
  if (!state.is_object() || !state.contains("domain") || !state["domain"].is_string() || !state.contains("issued") || !state["issued"].is_array())
    return refuse(at.state + ": is damaged");
  auto domain = state["domain"].get<std::string>();
  return authority{std::move(*crt), std::move(*key), std::move(state), std::move(domain)};
}

outcome<issue_request> checked(issue_request request) {
  if (!is_label(request.name))
    return refuse(fmt::format("'{}' cannot name a node", request.name), "a name is one DNS label: letters, digits and hyphens, at most 63");
  if (request.roles.empty()) request.roles.assign(role_names.begin(), role_names.end());
  for (const auto& role : request.roles)
    if (std::ranges::find(role_names, role) == role_names.end())
      return refuse(fmt::format("there is no role '{}'", role), fmt::format("roles are: {}", fmt::join(role_names, ", ")));
  for (const auto& seed : request.seeds)
    if (seed.empty() || seed.size() > 255 || seed.find_first_of(" \t\r\n,") != std::string::npos)
      return refuse(fmt::format("'{}' is not a seed", seed), "a seed is HOST:PORT");
  return request;
}

std::string bundle_text(const std::string& key_der, gnutls_x509_crt_t crt, const authority& ca, const issue_request& request, bool founder) {
  const nlohmann::json cluster = {{"version", 1}, {"domain", ca.domain}, {"seeds", request.seeds}, {"founder", founder}};
  return pem_encode("PRIVATE KEY", key_der) + pem_encode("CERTIFICATE", der_of(crt)) +
         pem_encode("CERTIFICATE", der_of(ca.certificate.get())) +
         pem_encode("SKALD CLUSTER", cluster.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

} // namespace

outcome<ca_made> init_cluster(const std::string& directory, std::string_view domain_given, unix_ms now) {
  const std::string domain = to_lower(domain_given);
  if (!is_domain(domain)) return refuse(fmt::format("'{}' is not a domain name", domain_given), "for example: skald cluster init example.com");
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return refuse(fmt::format("{}: cannot be made: {}", directory, error.message()));
  const paths at(directory);
  for (const auto& path : {at.key, at.certificate, at.state})
    if (file_exists(path)) return refuse(path + ": is there already, and is not overwritten", "a directory holds one cluster's CA; choose another with --dir");
  const auto key = make_key();
  const auto crt = make_ca(key.get(), domain, now);
  const nlohmann::json state = {{"version", 1}, {"domain", domain}, {"founder", nullptr}, {"issued", nlohmann::json::array()}};
  if (auto done = write_new_file(at.key, pem_encode("PRIVATE KEY", pkcs8_of(key.get())), 0600); !done) return std::unexpected(done.error());
  if (auto done = write_new_file(at.certificate, pem_encode("CERTIFICATE", der_of(crt.get())), 0644); !done) return std::unexpected(done.error());
  if (auto done = write_new_file(at.state, state.dump(2) + '\n', 0644); !done) return std::unexpected(done.error());
  return ca_made{domain, at.certificate, at.key, not_after_of(crt.get())};
}

outcome<issued> issue(const std::string& directory, const issue_request& request_given, unix_ms now) {
  const auto request = checked(request_given);
  if (!request) return std::unexpected(request.error());
  const paths at(directory);
  const file_lock lock(at.key);
  auto ca = open_authority(directory, now);
  if (!ca) return std::unexpected(ca.error());
  issued out{.path = directory == "." ? request->name + ".pem" : directory + '/' + request->name + ".pem", .domain = ca->domain};
  if (file_exists(out.path)) return refuse(out.path + ": is there already, and is not overwritten");
  for (const auto& entry : ca->state["issued"])
    if (entry.is_object() && equal_nocase(entry.value("name", ""), request->name)) out.issued_before = true;

  const auto key = make_key();
  const auto crt = make_node(key.get(), *ca, *request, now);
  out.founder = !ca->state.contains("founder") || ca->state["founder"].is_null();
  out.not_after = not_after_of(crt.get());
  out.id = node_id_of(crt.get()).value();

  // Recorded before the bundle exists: a crash in between loses a founder (`--found` helps), and never makes two.
  const std::string before = ca->state.dump(2) + '\n';
  if (out.founder) ca->state["founder"] = request->name;
  ca->state["issued"].push_back({{"name", request->name}, {"serial", serial_of(crt.get())}, {"node_id", out.id.hex()}, {"not_after", date_text(out.not_after)}});
  if (auto done = replace_file(at.state, ca->state.dump(2) + '\n', 0644); !done) return std::unexpected(done.error());
  if (auto done = write_new_file(out.path, bundle_text(pkcs8_of(key.get()), crt.get(), *ca, *request, out.founder), 0600); !done) {
    (void)replace_file(at.state, before, 0644);
    return std::unexpected(done.error());
  }
  return out;
}

outcome<issued> renew(const std::string& directory, const renewal& request, unix_ms now) {
  const paths at(directory);
  const file_lock lock(at.key);
  auto ca = open_authority(directory, now);
  if (!ca) return std::unexpected(ca.error());
  const std::string path = !request.path.empty() ? request.path : directory == "." ? request.name + ".pem" : directory + '/' + request.name + ".pem";
  const auto old = read_bundle(path);
  if (!old) return std::unexpected(old.error());
  if (!equal_nocase(old->name, request.name)) return refuse(fmt::format("{}: is the bundle of {}, not of {}", path, old->name, request.name));
  if (old->ca != der_of(ca->certificate.get())) return refuse(path + ": another CA issued it", "renew it where its CA is");
  const auto old_crt = import_crt(old->certificate);
  for (const auto& entry : ca->state["issued"])
    if (entry.is_object() && entry.contains("revoked") && old_crt && entry.value("serial", "") == serial_of(old_crt->get()))
      return refuse(fmt::format("{} was revoked: its key is not to be trusted any more", old->name), "issue a bundle with a new key: skald cert issue NAME");
  const auto key = import_key(old->key);
  SKALD_ASSERT(key); // read_bundle has imported it
  const issue_request same{.name = old->name, .seeds = old->seeds, .roles = old->roles};
  const auto crt = make_node(key->get(), *ca, same, now);
  issued out{.path = path, .domain = ca->domain, .id = node_id_of(crt.get()).value(), .founder = old->founder, .issued_before = true, .not_after = not_after_of(crt.get())};
  ca->state["issued"].push_back({{"name", old->name}, {"serial", serial_of(crt.get())}, {"node_id", out.id.hex()}, {"not_after", date_text(out.not_after)}});
  if (auto done = replace_file(at.state, ca->state.dump(2) + '\n', 0644); !done) return std::unexpected(done.error());
  if (auto done = replace_file(path, bundle_text(old->key, crt.get(), *ca, same, old->founder), 0600); !done) return std::unexpected(done.error());
  return out;
}

outcome<revoked> revoke(const std::string& directory, const std::string& name, unix_ms now) {
  const paths at(directory);
  const file_lock lock(at.key);
  auto ca = open_authority(directory, now);
  if (!ca) return std::unexpected(ca.error());
  revoked out{.path = directory == "." ? "ca.crl" : directory + "/ca.crl", .crl = {}};
  out.before = true;
  for (auto& entry : ca->state["issued"]) {
    if (!entry.is_object() || !equal_nocase(entry.value("name", ""), name)) continue;
    ++out.certificates;
    if (entry.contains("revoked")) continue;
    entry["revoked"] = now;
    out.before = false;
  }
  if (out.certificates == 0) return refuse(fmt::format("no certificate of that name was issued here: {}", name), "see the names in " + at.state);
  const auto last = ca->state.value("crl_number", std::uint64_t{0});
  const std::uint64_t number = out.before && last != 0 ? last : std::max(static_cast<std::uint64_t>(now), last + 1);
  ca->state["crl_number"] = number;
  out.crl = make_crl(*ca, number, now);
  // The record first: a list that was handed out and is then forgotten would be taken back by the next one.
  if (auto done = replace_file(at.state, ca->state.dump(2) + '\n', 0644); !done) return std::unexpected(done.error());
  if (auto done = replace_file(out.path, pem_encode("X509 CRL", out.crl), 0644); !done) return std::unexpected(done.error());
  return out;
}

} // namespace skald::certs
