#include "certs/authority.hpp"
#include "certs/bundle.hpp"
#include "certs/x509.hpp"
#include "node/cli.hpp"
#include "node/system_clock.hpp"

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

} // namespace skald::node
