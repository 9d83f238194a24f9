#include "dht/link/messages.hpp"
#include "node/control/cli.hpp"
#include "node/control/control_client.hpp"
#include "node/disk/state_dir.hpp"
#include "node/version.hpp"

#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

namespace skald::node {
namespace {

using nlohmann::json;

struct asked {
  std::optional<json> answer; // absent: reported already, exit with `code`
  int code = exit_done;
};

asked ask(const cli_context& c, const char* method, const char* path, const std::map<std::string, std::string>& query = {},
          const std::string& body = {}) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return {std::nullopt, report(c, socket.error(), exit_unreachable)};
  const outcome<control_answer> got = ask_node(*socket, method, path, query, body);
  if (!got) return {std::nullopt, report(c, got.error(), exit_unreachable)};
  json parsed = json::parse(got->body, nullptr, false);
  if (got->status >= 400 || parsed.is_discarded()) {
    const failure f = parsed.is_object()
                          ? failure{parsed.value("error", std::string("refused")), parsed.value("hint", std::string{})}
                          : failure{fmt::format("the node answered {}", got->status)};
    return {std::nullopt, report(c, f, got->status == 400 ? exit_usage : exit_refused)};
  }
  return {std::move(parsed), exit_done};
}

void print_json(const json& j) { fmt::print("{}\n", j.dump(2, ' ', false, json::error_handler_t::replace)); }

int show_rows(const cli_context& c, const char* path, const std::map<std::string, std::string>& query,
              const std::vector<column>& columns, std::string_view nothing) {
  const asked a = ask(c, "GET", path, query);
  if (!a.answer) return a.code;
  if (c.json) print_json(*a.answer);
  else print_table(*a.answer, columns, nothing);
  return exit_done;
}

// "key   value" lines of one object; nested values as they print.
int show_object(const cli_context& c, const asked& a) {
  if (!a.answer) return a.code;
  if (c.json) {
    print_json(*a.answer);
    return exit_done;
  }
  for (const auto& [key, value] : a.answer->items()) fmt::print("{:<22}{}\n", key, cell_text(value));
  return exit_done;
}

} // namespace

int cmd_members(const cli_context& c) {
  return show_rows(c, "/v1/members", {},
                   {{"NAME", "name"}, {"STATE", "state"}, {"ADDRESS", "address"}, {"ZONE", "zone"}, {"CAPACITY", "capacity"},
                    {"ROLES", "roles"}, {"ID", "id"}},
                   "no members");
}

int cmd_owner(const cli_context& c, const std::string& aor) { return show_object(c, ask(c, "GET", "/v1/owner", {{"aor", aor}})); }

int cmd_registrations(const cli_context& c, const std::string& aor) {
  std::map<std::string, std::string> query;
  if (!aor.empty()) query["aor"] = aor;
  return show_rows(c, "/v1/registrations", query,
                   {{"AOR", "aor"}, {"CONTACT", "contact"}, {"EXPIRES", "expires_s"}, {"EDGE", "edge"}, {"USER AGENT", "user_agent"}},
                   "no registrations");
}

int cmd_calls(const cli_context& c) {
  return show_rows(c, "/v1/calls", {}, {{"CALLER", "caller"}, {"CALLEE", "callee"}, {"SINCE", "since"}, {"EDGES", "edges"}, {"CALL-ID", "call_id"}},
                   "no calls");
}

int cmd_roles(const cli_context& c) {
  return show_rows(c, "/v1/roles", {}, {{"ROLE", "role"}, {"BUILT", "built"}, {"PERMITTED", "permitted"}, {"CLAIMED", "claimed"}, {"HOLDERS", "holders"}},
                   "no roles");
}

int cmd_roles_set(const cli_context& c, const std::vector<std::string>& roles) {
  return show_object(c, ask(c, "PUT", "/v1/roles", {}, json{{"roles", roles}}.dump()));
}

int cmd_status(const cli_context& c) { return show_object(c, ask(c, "GET", "/v1/status")); }

int cmd_partitions(const cli_context& c, bool accept_loss) {
  if (accept_loss) return show_object(c, ask(c, "POST", "/v1/partitions/accept-loss"));
  return show_rows(c, "/v1/partitions", {},
                   {{"NODE", "node"}, {"STATE", "state"}, {"MISSING", "missing"}, {"PARTITIONS", "partitions"}, {"SINCE", "since"}},
                   "every partition is complete");
}

int cmd_dns(const cli_context& c, bool setup) {
  const asked a = ask(c, "GET", "/v1/dns", setup ? std::map<std::string, std::string>{{"setup", "1"}} : std::map<std::string, std::string>{});
  if (!a.answer) return a.code;
  if (c.json) {
    print_json(*a.answer);
    return exit_done;
  }
  if (setup) {
    fmt::print("{}\n", a.answer->value("setup", std::string{}));
    return exit_done;
  }
  for (const auto& [key, value] : a.answer->items())
    if (key != "records") fmt::print("{:<22}{}\n", key, cell_text(value));
  fmt::print("\n");
  print_table(a.answer->value("records", json::array()),
              {{"NAME", "name"}, {"TTL", "ttl_s"}, {"TYPE", "type"}, {"DATA", "data"}, {"PUBLISHED", "published"}}, "no records");
  return exit_done;
}

int cmd_dns_set(const cli_context& c, const std::string& server, const std::string& tsig_file) {
  json body{{"server", server}};
  if (!tsig_file.empty()) {
    const outcome<std::string> text = read_file(tsig_file);
    if (!text) return report(c, text.error());
    body["tsig"] = *text;
  }
  return show_object(c, ask(c, "PUT", "/v1/dns", {}, body.dump()));
}

int cmd_leave(const cli_context& c) { return show_object(c, ask(c, "POST", "/v1/leave")); }

// Shows what is left, once for each change, until the node has gone.
int cmd_drain(const cli_context& c) {
  asked a = ask(c, "POST", "/v1/drain");
  if (!a.answer) return a.code;
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  json last;
  for (json now = *a.answer;;) {
    if (!c.json && now != last) fmt::print("draining: {} calls pass here, {} ring\n", now.value("calls", 0), now.value("ringing", 0));
    std::fflush(stdout);
    last = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto got = ask_node(*socket, "GET", "/v1/drain");
    if (!got) break; // it has left
    now = json::parse(got->body, nullptr, false);
    if (!now.is_object()) break;
  }
  if (c.json) print_json({{"left", true}});
  else fmt::print("left\n");
  return exit_done;
}

int cmd_base(const cli_context& c, bool accept) {
  const asked a = accept ? ask(c, "POST", "/v1/base/accept") : ask(c, "GET", "/v1/base");
  if (!a.answer) return a.code;
  if (c.json) {
    print_json(*a.answer);
    return exit_done;
  }
  for (const auto& [key, value] : a.answer->items())
    if (key != "members") fmt::print("{:<22}{}\n", key, cell_text(value));
  fmt::print("\n");
  print_table(a.answer->value("members", json::array()), {{"NAME", "name"}, {"STATE", "state"}, {"ID", "id"}}, "no base yet");
  return exit_done;
}

int cmd_set(const cli_context& c, const std::string& key, const std::string& value, bool has_value) {
  if (!has_value)
    return show_rows(c, "/v1/settings", key.empty() ? std::map<std::string, std::string>{} : std::map<std::string, std::string>{{"key", key}},
                     {{"SETTING", "key"}, {"VALUE", "value"}, {"DEFAULT", "default"}, {"WHAT", "help"}}, "no settings");
  return show_object(c, ask(c, "PUT", "/v1/settings", {}, json{{"key", key}, {"value", value}}.dump()));
}

int cmd_metrics(const cli_context& c) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  const outcome<control_answer> got = ask_node(*socket, "GET", "/metrics");
  if (!got) return report(c, got.error(), exit_unreachable);
  fmt::print("{}", got->body);
  return exit_done;
}

int cmd_tls_set(const cli_context& c, const std::string& cert_file, const std::string& key_file, const std::string& domain) {
  const outcome<std::string> cert = read_file(cert_file);
  if (!cert) return report(c, cert.error());
  const outcome<std::string> key = read_file(key_file);
  if (!key) return report(c, key.error());
  return show_object(c, ask(c, "PUT", "/v1/tls", {}, json{{"cert", *cert}, {"key", *key}, {"domain", domain}}.dump()));
}

int cmd_tls_unset(const cli_context& c, const std::string& domain) {
  return show_object(c, ask(c, "DELETE", "/v1/tls", {{"domain", domain}}));
}

int cmd_tls_status(const cli_context& c) {
  return show_rows(c, "/v1/tls", {}, {{"NODE", "node"}, {"NAMES", "names"}, {"MISSING", "missing"}, {"ISSUER", "issuer"}, {"DAYS LEFT", "days_left"}, {"WARNING", "warning"}},
                   "no nodes");
}

int cmd_version(const cli_context& c) {
  if (c.json) fmt::print("{}\n", json{{"version", version_text}, {"wire_lowest", dht::wire_version_lowest}, {"wire_highest", dht::wire_version_highest}}.dump());
  else fmt::print("skald {}\n", version_text);
  return exit_done;
}

} // namespace skald::node
