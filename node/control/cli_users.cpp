#include "node/control/cli.hpp"
#include "node/control/control_client.hpp"
#include "node/disk/state_dir.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <termios.h>
#include <unistd.h>

namespace skald::node {
namespace {

using nlohmann::json;

constexpr std::size_t import_chunk_bytes = 512 << 10;
constexpr std::size_t bad_rows_shown = 50, bad_rows_json = 10'000;

outcome<std::string> ask_password(const char* prompt) {
  termios former{};
  if (tcgetattr(STDIN_FILENO, &former) != 0)
    return std::unexpected(failure{"no terminal to ask for the password", "use --password-stdin"});
  termios quiet = former;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
  fmt::print(stderr, "{}", prompt);
  std::string line;
  std::getline(std::cin, line);
  tcsetattr(STDIN_FILENO, TCSANOW, &former);
  fmt::print(stderr, "\n");
  return line;
}

outcome<std::string> read_password(bool from_stdin) {
  if (from_stdin) {
    std::string line;
    std::getline(std::cin, line);
    if (line.empty()) return std::unexpected(failure{"standard input held no password", "printf '%s\\n' PASSWORD | skald user add …"});
    return line;
  }
  const outcome<std::string> first = ask_password("Password: ");
  if (!first) return first;
  const outcome<std::string> again = ask_password("Again: ");
  if (!again) return again;
  if (first->empty()) return std::unexpected(failure{"an empty password is not taken"});
  if (*first != *again) return std::unexpected(failure{"the two passwords differ"});
  return first;
}

int answer_of(const cli_context& c, const outcome<control_answer>& got, std::string_view done) {
  if (!got) return report(c, got.error(), exit_unreachable);
  const json body = json::parse(got->body, nullptr, false);
  if (got->status >= 400) {
    if (!body.is_object()) return report(c, {fmt::format("the node answered {}", got->status)});
    return report(c, {body.value("error", std::string{}), body.value("hint", std::string{})});
  }
  if (c.json) fmt::print("{}\n", got->body);
  else fmt::print("{}\n", done);
  return exit_done;
}

struct import_total {
  std::uint64_t rows = 0, bad = 0;
  json named = json::array(); // the first bad ones, for --json
};

// One chunk of whole lines under the header line. Bad rows are reported as the node names them.
std::optional<int> send_chunk(const cli_context& c, const std::string& socket, const std::string& header,
                              std::uint64_t first_line, const std::string& rows, import_total& total) {
  const auto got = ask_node(socket, "POST", "/v1/users/import", {{"line", std::to_string(first_line)}}, header + "\n" + rows, 120);
  if (!got) return report(c, got.error(), exit_unreachable);
  const json body = json::parse(got->body, nullptr, false);
  if (got->status >= 400 || !body.is_object())
    return report(c, {body.is_object() ? body.value("error", std::string{}) : fmt::format("the node answered {}", got->status),
                      body.is_object() ? body.value("hint", std::string{}) : std::string{}});
  total.rows += body.value("imported", 0ULL);
  for (const json& bad : body.value("bad", json::array())) {
    ++total.bad;
    if (c.json && total.named.size() < bad_rows_json) total.named.push_back(bad);
    if (!c.json && total.bad <= bad_rows_shown) fmt::print(stderr, "line {}: {}\n", bad.value("line", 0ULL), bad.value("error", std::string{}));
  }
  if (!c.json && isatty(STDERR_FILENO)) fmt::print(stderr, "\r{} imported, {} bad", total.rows, total.bad);
  return std::nullopt;
}

int import_from(const cli_context& c, std::istream& in, const std::string& socket) {
  std::string header, line, chunk;
  if (!std::getline(in, header)) return report(c, {"the file is empty", "its first line must be aor,password or aor,ha1-md5[,ha1-sha256]"});
  import_total total;
  std::uint64_t line_number = 1, chunk_first = 2;
  for (bool more = true; more;) {
    more = static_cast<bool>(std::getline(in, line));
    if (more) {
      ++line_number;
      chunk += line + "\n";
    }
    if (chunk.size() >= import_chunk_bytes || (!more && !chunk.empty())) {
      if (const auto code = send_chunk(c, socket, header, chunk_first, chunk, total)) return *code;
      chunk.clear();
      chunk_first = line_number + 1;
    }
  }
  if (!c.json && isatty(STDERR_FILENO)) fmt::print(stderr, "\n");
  if (!c.json && total.bad > bad_rows_shown) fmt::print(stderr, "and {} more; --json names them\n", total.bad - bad_rows_shown);
  if (c.json) fmt::print("{}\n", json{{"imported", total.rows}, {"bad", total.bad}, {"rows", total.named}}.dump());
  else fmt::print("{} subscribers imported, {} rows refused\n", total.rows, total.bad);
  return total.bad == 0 ? exit_done : exit_refused;
}

} // namespace

int cmd_user_add(const cli_context& c, const std::string& aor, bool password_stdin, bool must_exist) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  const outcome<std::string> password = read_password(password_stdin);
  if (!password) return report(c, password.error(), exit_usage);
  const json body{{"aor", aor}, {"password", *password}};
  return answer_of(c, ask_node(*socket, must_exist ? "PUT" : "POST", "/v1/users", {}, body.dump()),
                   fmt::format("{} {}", must_exist ? "changed" : "added", aor));
}

int cmd_user_del(const cli_context& c, const std::string& aor) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  return answer_of(c, ask_node(*socket, "DELETE", "/v1/users", {{"aor", aor}}), fmt::format("deleted {}", aor));
}

int cmd_user_list(const cli_context& c) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  const auto got = ask_node(*socket, "GET", "/v1/users");
  if (!got || got->status >= 400 || c.json) return answer_of(c, got, "");
  print_table(json::parse(got->body, nullptr, false), {{"AOR", "aor"}, {"OWNER", "owner"}, {"DIGESTS", "digests"}, {"ALIASES", "aliases"}}, "no subscribers");
  return exit_done;
}

int cmd_user_alias(const cli_context& c, const std::string& aor, const std::string& alias, alias_change what) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  const bool add = what == alias_change::add;
  return answer_of(c, ask_node(*socket, add ? "POST" : "DELETE", "/v1/users/aliases", {{"aor", aor}, {"alias", alias}}),
                   add ? fmt::format("{} is an alias of {}", alias, aor) : fmt::format("{} is no alias of {} any more", alias, aor));
}

int cmd_user_alias_list(const cli_context& c, const std::string& aor) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  const auto got = ask_node(*socket, "GET", "/v1/users/aliases", {{"aor", aor}});
  if (!got || got->status >= 400 || c.json) return answer_of(c, got, "");
  print_table(json::parse(got->body, nullptr, false), {{"ALIAS", "alias"}, {"OF", "aor"}}, "no aliases");
  return exit_done;
}

int cmd_user_import(const cli_context& c, const std::string& file) {
  const outcome<std::string> socket = find_control_socket(c.control);
  if (!socket) return report(c, socket.error(), exit_unreachable);
  if (file == "-") return import_from(c, std::cin, *socket);
  std::ifstream in(file);
  if (!in) return report(c, {file + ": cannot be read"}, exit_usage);
  return import_from(c, in, *socket);
}

} // namespace skald::node
