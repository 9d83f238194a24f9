#include "node/disk/state_dir.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace skald::node {
namespace fs = std::filesystem;

namespace {

std::string state_root() {
  if (geteuid() == 0) return "/var/lib/skald";
  if (const char* xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && *xdg != '\0') return std::string(xdg) + "/skald";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : ".") + "/.local/state/skald";
}

bool answers(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool ok = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return ok;
}

failure os_failure(const std::string& path, std::string_view what) {
  return {fmt::format("{}: {}: {}", path, what, std::strerror(errno))};
}

} // namespace

std::string default_state_dir(const std::string& name) { return state_root() + "/" + name; }

outcome<void> make_state_dir(const std::string& dir) {
  std::error_code ec;
  fs::create_directories(fs::path(dir).parent_path(), ec);
  if (::mkdir(dir.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) return std::unexpected(os_failure(dir, "cannot be created"));
  struct stat info{};
  if (::stat(dir.c_str(), &info) != 0) return std::unexpected(os_failure(dir, "cannot be read"));
  if (!S_ISDIR(info.st_mode)) return std::unexpected(failure{dir + ": is not a directory", "give another with --state"});
  if ((info.st_mode & 077) != 0)
    return std::unexpected(failure{dir + ": others can enter it", fmt::format("chmod 700 {}", dir)});
  return {};
}

outcome<int> lock_state_dir(const std::string& dir) {
  const std::string path = dir + "/lock";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return std::unexpected(os_failure(path, "cannot be opened"));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return std::unexpected(failure{dir + ": another skald uses this state directory",
                                   "stop it (skald leave), or give another directory with --state"});
  }
  return fd;
}

std::vector<std::string> live_control_sockets() {
  std::vector<std::string> out;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(state_root(), ec)) {
    const std::string path = entry.path().string() + "/control.sock";
    if (answers(path)) out.push_back(path);
  }
  return out;
}

outcome<std::string> find_control_socket(const std::string& asked) {
  if (!asked.empty()) return asked;
  const std::vector<std::string> live = live_control_sockets();
  if (live.size() == 1) return live.front();
  if (live.empty())
    return std::unexpected(failure{"no node of this user is running here", "start one: skald run NAME.pem; or name its socket with --control PATH"});
  return std::unexpected(failure{"several nodes run here", fmt::format("choose one: --control {}", fmt::join(live, " | --control "))});
}

outcome<void> write_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".new";
  const int fd = ::open(temporary.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return std::unexpected(os_failure(temporary, "cannot be written"));
  bool good = true;
  for (std::size_t done = 0; good && done < content.size();) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    good = n > 0;
    done += good ? static_cast<std::size_t>(n) : 0;
  }
  good = good && ::fsync(fd) == 0;
  ::close(fd);
  if (!good || ::rename(temporary.c_str(), path.c_str()) != 0) return std::unexpected(os_failure(path, "cannot be written"));
  return {};
}

outcome<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::unexpected(os_failure(path, "cannot be read"));
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

} // namespace skald::node
