#include "base/encoding.hpp"
#include "certs/authority.hpp"
#include "certs/bundle.hpp"
#include "certs/pem.hpp"
#include "certs/x509.hpp"
#include "node/control/cli.hpp"
#include "node/control/control_client.hpp"
#include "node/disk/state_dir.hpp"
#include "node/io/system_clock.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

int cmd_cluster_init(const cli_context& c, const std::string& domain, const std::string& dir) {
  const auto made = certs::init_cluster(dir, domain, system_clock{}.wall());
  if (!made) return report(c, made.error());
  if (c.json) {
    fmt::print("{}\n", json{{"domain", made->domain}, {"ca", made->ca_path}, {"key", made->key_path}, {"not_after", certs::date_text(made->not_after)}}.dump());
    return exit_done;
  }
  fmt::print("made the CA of {}: {} and its key {} (valid until {})\n", made->domain, made->ca_path, made->key_path,
             certs::date_text(made->not_after));
  fmt::print("keep the key safe; next: skald cert issue NAME{}\n", dir == "." ? "" : " --dir " + dir);
  return exit_done;
}

int cmd_cert_issue(const cli_context& c, const std::string& name, const std::string& dir,
                   const std::vector<std::string>& seeds, const std::vector<std::string>& roles) {
  const auto made = certs::issue(dir, {name, seeds, roles}, system_clock{}.wall());
  if (!made) return report(c, made.error());
  if (c.json) {
    fmt::print("{}\n", json{{"file", made->path}, {"id", made->id.hex()}, {"founder", made->founder}, {"not_after", certs::date_text(made->not_after)}}.dump());
    return exit_done;
  }
  fmt::print("made {} for {}.{} (id {}, valid until {}){}\n", made->path, name, made->domain, made->id.hex(),
             certs::date_text(made->not_after), made->founder ? ", the founder's" : "");
  if (made->issued_before) fmt::print("note: a bundle of this name was issued before; only one of them should run\n");
  fmt::print("copy it to the new machine (it is a secret) and run: skald run {}.pem\n", name);
  return exit_done;
}

int cmd_cert_show(const cli_context& c, const std::string& file) {
  const auto read = certs::read_bundle(file);
  if (!read) return report(c, read.error());
  const certs::description d = certs::describe(*read, system_clock{}.wall());
  json out{{"name", d.name}, {"domain", d.domain}, {"id", d.id.hex()}, {"founder", d.founder}, {"roles", d.roles},
           {"seeds", d.seeds}, {"not_before", certs::date_text(d.not_before)}, {"not_after", certs::date_text(d.not_after)},
           {"dns_names", d.dns_names}, {"uris", d.uris}, {"serial", d.serial}, {"issuer", d.issuer},
           {"fingerprint", d.fingerprint}, {"ca_fingerprint", d.ca_fingerprint},
           {"ca_not_after", certs::date_text(d.ca_not_after)}, {"problem", d.problem}};
  if (c.json) fmt::print("{}\n", out.dump(2));
  else
    for (const auto& [key, value] : out.items()) fmt::print("{:<16}{}\n", key, cell_text(value));
  return d.problem.empty() ? exit_done : exit_refused;
}

int cmd_cert_renew(const cli_context& c, const std::string& name, const std::string& dir, const std::string& bundle) {
  const auto made = certs::renew(dir, {name, bundle}, system_clock{}.wall());
  if (!made) return report(c, made.error());
  if (c.json) {
    fmt::print("{}\n", json{{"file", made->path}, {"id", made->id.hex()}, {"not_after", certs::date_text(made->not_after)}}.dump());
    return exit_done;
  }
  fmt::print("renewed {}, valid until {}\n", made->path, certs::date_text(made->not_after));
  fmt::print("put it in the place of the bundle that the node runs with: it is taken within seconds, with no restart\n");
  return exit_done;
}

int cmd_revoke(const cli_context& c, const std::string& name, const std::string& dir, const std::string& crl_file) {
  std::string crl, path = crl_file;
  if (name.empty() && crl_file.empty()) return report(c, {"whom? no name was given", "skald revoke NAME where the CA is, or skald revoke --crl FILE"}, exit_usage);
  if (crl_file.empty()) {
    const auto made = certs::revoke(dir, name, system_clock{}.wall());
    if (!made) return report(c, made.error());
    crl = made->crl;
    path = made->path;
    if (!c.json) fmt::print("revoked {}: {} certificates, {}\n", name, made->certificates, path);
  } else {
    const auto text = read_file(crl_file);
    if (!text) return report(c, text.error());
    const auto blocks = certs::pem_decode(*text);
    if (!blocks || blocks->empty() || blocks->front().label != "X509 CRL") return report(c, {crl_file + ": is not a revocation list", "skald revoke NAME makes ca.crl"});
    crl = blocks->front().bytes;
  }
  const auto unreached = [&](const failure& f) {
    return report(c, {fmt::format("no node has the list yet: {}", f.what), fmt::format("hand it to any node: skald revoke --crl {} [--control PATH]", path)}, exit_unreachable);
  };
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return unreached(socket.error());
  const auto got = ask_node(*socket, "POST", "/v1/revocations", {}, json{{"crl", to_base64(crl)}}.dump());
  if (!got) return unreached(got.error());
  const json answer = json::parse(got->body, nullptr, false);
  if (got->status >= 400 || !answer.is_object())
    return report(c, {answer.is_object() ? answer.value("error", std::string("refused")) : "refused", answer.is_object() ? answer.value("hint", std::string{}) : std::string{}});
  if (c.json) fmt::print("{}\n", answer.dump());
  else fmt::print("{}\n", answer.value("note", std::string{}));
  return exit_done;
}

} // namespace skald::node
