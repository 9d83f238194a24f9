#include "base/log.hpp"
#include "certs/authority.hpp"
#include "certs/bundle.hpp"
#include "node/control/cli.hpp"
#include "node/control/control_client.hpp"
#include "node/runtime.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace skald::node {
namespace fs = std::filesystem;

namespace {

// Before any thread is made: they inherit the mask, and only run() takes these signals.
void block_stop_signals() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  pthread_sigmask(SIG_BLOCK, &wanted, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

log::level level_from(const std::string& name) {
  if (name == "debug") return log::level::debug;
  if (name == "warning") return log::level::warning;
  return name == "error" ? log::level::error : log::level::info;
}

} // namespace

int cmd_config_check(const cli_context& c, const std::string& config_file) {
  node_config config;
  if (const auto merged = merge_config_file(config, config_file, {}); !merged) return report(c, merged.error());
  if (const auto good = check_config(config); !good) return report(c, good.error());
  if (c.json) fmt::print("{}\n", nlohmann::json{{"file", config_file}, {"good", true}}.dump());
  else fmt::print("{} is good\n", config_file);
  return exit_done;
}

int cmd_run(const cli_context& c, node_config config, const std::string& config_file,
            const std::vector<std::string>& given_flags) {
  if (!config_file.empty())
    if (const auto merged = merge_config_file(config, config_file, given_flags); !merged) return report(c, merged.error(), exit_usage);
  if (const auto good = check_config(config); !good) return report(c, good.error(), exit_usage);
  // `run --control` is where to listen; the global flag of the same name may have taken it.
  if (config.control.empty()) config.control = c.control;
  log::set_level(level_from(config.log_level));
  block_stop_signals();
  auto bundle = certs::load_bundle(config.bundle, system_clock{}.wall());
  if (!bundle) return report(c, bundle.error());
  runtime node(std::move(config), std::move(*bundle));
  if (const auto started = node.start(); !started) return report(c, started.error());
  log::info("node", node.summary());
  return node.run();
}

// ---- skald dev: a local cluster of child processes

namespace {

struct dev_node {
  std::string name, address, state;
  pid_t pid = -1;
};

outcome<pid_t> spawn(const std::vector<std::string>& argv, const std::string& log_path) {
  std::error_code unreadable;
  const std::string program = fs::read_symlink("/proc/self/exe", unreadable).string();
  const pid_t pid = ::fork();
  if (pid < 0) return std::unexpected(failure{fmt::format("cannot start a process: {}", std::strerror(errno))});
  if (pid > 0) return pid;
  const int fd = ::open(log_path.c_str(), O_CREAT | O_APPEND | O_WRONLY, 0600);
  if (fd >= 0) ::dup2(fd, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  std::vector<char*> args;
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  ::execv(program.c_str(), args.data());
  ::_exit(127);
}

bool all_active(const std::vector<dev_node>& nodes) {
  for (const dev_node& n : nodes) {
    const auto got = ask_node(n.state + "/control.sock", "GET", "/v1/members", {}, {}, 2);
    if (!got || got->status != 200) return false;
    const auto rows = nlohmann::json::parse(got->body, nullptr, false);
    std::size_t active = 0;
    for (const auto& row : rows) active += row.value("state", std::string{}) == "active" ? 1 : 0;
    if (active != nodes.size()) return false;
  }
  return true;
}

outcome<std::vector<dev_node>> start_nodes(const dev_options& o, const std::string& dir) {
  const unix_ms now = system_clock{}.wall();
  if (const auto made = certs::init_cluster(dir, o.domain, now); !made) return std::unexpected(made.error());
  std::vector<dev_node> nodes;
  for (int i = 0; i < o.nodes; ++i) {
    dev_node n{fmt::format("node{}", i + 1), fmt::format("127.0.0.{}", 11 + i), fmt::format("{}/state-node{}", dir, i + 1)};
    certs::issue_request request{.name = n.name};
    if (i > 0) request.seeds.push_back("127.0.0.11:4260");
    if (const auto issued = certs::issue(dir, request, now); !issued) return std::unexpected(issued.error());
    const auto pid = spawn({"skald", "run", fmt::format("{}/{}.pem", dir, n.name), "--state", n.state, "--address", n.address, "--workers", "1"},
                           fmt::format("{}/{}.log", dir, n.name));
    if (!pid) return std::unexpected(pid.error());
    n.pid = *pid;
    nodes.push_back(std::move(n));
  }
  return nodes;
}

void stop_nodes(const std::vector<dev_node>& nodes) {
  for (const dev_node& n : nodes) ::kill(n.pid, SIGTERM);
  for (const dev_node& n : nodes) ::waitpid(n.pid, nullptr, 0);
}

void print_how_to(const cli_context& c, const dev_options& o, const std::string& dir, const std::vector<dev_node>& nodes) {
  if (c.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const dev_node& n : nodes) rows.push_back({{"name", n.name}, {"address", n.address}, {"control", n.state + "/control.sock"}});
    fmt::print("{}\n", nlohmann::json{{"domain", o.domain}, {"dir", dir}, {"nodes", rows}}.dump());
    std::fflush(stdout);
    return;
  }
  fmt::print("a cluster of {} for {} is up; its files are in {}\n\n", nodes.size(), o.domain, dir);
  for (const dev_node& n : nodes) fmt::print("  {}  {}  SIP 5060 (UDP, TCP), SIPS 5061, DNS 53  --control {}/control.sock\n", n.name, n.address, n.state);
  fmt::print("\npoint a phone at it:\n  account   sip:alice@{0}   password alice-secret\n            sip:bob@{0}     password bob-secret\n", o.domain);
  fmt::print("  proxy     sip:{} (or any other of the above), or DNS server {} and no proxy at all\n", nodes[0].address, nodes[0].address);
  fmt::print("  TLS       trust {}/ca.pem\n\nask it:     skald members --control {}/control.sock\nstop it:    Ctrl-C\n", dir, nodes[0].state);
  std::fflush(stdout);
}

} // namespace

int cmd_dev(const cli_context& c, const dev_options& o, const char*) {
  block_stop_signals();
  std::string dir = o.dir;
  const bool temporary = dir.empty();
  if (temporary) {
    char name[] = "/tmp/skald-dev-XXXXXX";
    if (::mkdtemp(name) == nullptr) return report(c, {"no temporary directory could be made", "give one with --dir"});
    dir = name;
  }
  const auto nodes = start_nodes(o, dir);
  if (!nodes) return report(c, nodes.error());
  bool up = false;
  const timespec step{0, 100'000'000};
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  for (int i = 0; i < 200 && !(up = all_active(*nodes)); ++i)
    if (sigtimedwait(&wanted, nullptr, &step) > 0) break;
  int code = exit_done;
  if (!up) {
    code = report(c, {"the cluster did not come up", fmt::format("see {}/*.log", dir)});
  } else {
    for (const char* user : {"alice", "bob"}) {
      const nlohmann::json body{{"aor", fmt::format("{}@{}", user, o.domain)}, {"password", fmt::format("{}-secret", user)}};
      const auto added = ask_node(nodes->front().state + "/control.sock", "POST", "/v1/users", {}, body.dump());
      if (!added || added->status >= 400) code = report(c, {fmt::format("{} could not be added", user), fmt::format("see {}/*.log", dir)});
    }
    print_how_to(c, o, dir, *nodes);
    int signal = 0;
    sigwait(&wanted, &signal);
  }
  stop_nodes(*nodes);
  std::error_code ignored;
  if (temporary && code == exit_done) fs::remove_all(dir, ignored);
  return code;
}

} // namespace skald::node
