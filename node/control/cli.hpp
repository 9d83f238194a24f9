#pragma once
// The command line: one function for each command, given what was parsed. CLI11 itself stays in cli.cpp.
#include "node/config.hpp"
#include "node/control/cli_print.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace skald::node {

int run_cli(int argc, char** argv);

// cli_certs.cpp
int cmd_cluster_init(const cli_context& c, const std::string& domain, const std::string& dir);
int cmd_cert_issue(const cli_context& c, const std::string& name, const std::string& dir,
                   const std::vector<std::string>& seeds, const std::vector<std::string>& roles);
int cmd_cert_show(const cli_context& c, const std::string& file);
int cmd_cert_renew(const cli_context& c, const std::string& name, const std::string& dir, const std::string& bundle);
// Without a name: hands the list in `crl_file` to a node.
int cmd_revoke(const cli_context& c, const std::string& name, const std::string& dir, const std::string& crl_file);

// cli_run.cpp
int cmd_run(const cli_context& c, node_config config, const std::string& config_file,
            const std::vector<std::string>& given_flags);
int cmd_config_check(const cli_context& c, const std::string& config_file);
struct dev_options {
  int nodes = 3;
  std::string domain = "skald.test";
  std::string dir; // empty: a temporary one
  bool quiet = false;
};
int cmd_dev(const cli_context& c, const dev_options& o, const char* program);

// cli_query.cpp
int cmd_members(const cli_context& c);
int cmd_owner(const cli_context& c, const std::string& aor);
int cmd_registrations(const cli_context& c, const std::string& aor);
int cmd_calls(const cli_context& c);
int cmd_roles(const cli_context& c);
int cmd_roles_set(const cli_context& c, const std::vector<std::string>& roles);
int cmd_status(const cli_context& c);
int cmd_partitions(const cli_context& c, bool accept_loss);
int cmd_dns(const cli_context& c, bool setup);
int cmd_dns_set(const cli_context& c, const std::string& server, const std::string& tsig_file);
int cmd_leave(const cli_context& c);
int cmd_base(const cli_context& c, bool accept);
int cmd_drain(const cli_context& c);
int cmd_set(const cli_context& c, const std::string& key, const std::string& value, bool has_value);
int cmd_metrics(const cli_context& c);
int cmd_tls_set(const cli_context& c, const std::string& cert_file, const std::string& key_file, const std::string& domain);
int cmd_tls_unset(const cli_context& c, const std::string& domain);
int cmd_tls_status(const cli_context& c);
int cmd_version(const cli_context& c);

// cli_users.cpp
int cmd_user_add(const cli_context& c, const std::string& aor, bool password_stdin, bool must_exist);
int cmd_user_del(const cli_context& c, const std::string& aor);
int cmd_user_list(const cli_context& c);
enum class alias_change : std::uint8_t { add, remove };
int cmd_user_alias(const cli_context& c, const std::string& aor, const std::string& alias, alias_change what);
int cmd_user_alias_list(const cli_context& c, const std::string& aor);
int cmd_user_import(const cli_context& c, const std::string& file);

} // namespace skald::node
