#include "node/io/port_holder.hpp"

#include "node/io/socket_address.hpp"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace skald::node {
namespace {

// The local address as /proc/net prints it: 32-bit words in host order, in hex.
std::string proc_address(const endpoint& e) {
  std::string out;
  for (std::size_t word = 0; word < (e.ip.is_v4() ? 1u : 4u); ++word) {
    std::uint32_t w;
    std::memcpy(&w, e.ip.bytes.data() + word * 4, 4);
    out += fmt::format("{:08X}", w);
  }
  return out;
}

// The socket inode of the line whose local address is ours or the wildcard, with our port.
std::string find_inode(const std::string& path, const endpoint& local, bool listening_only) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line); // the heading
  const std::string port = fmt::format(":{:04X}", local.port);
  const std::string mine = proc_address(local);
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    std::string slot, address, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> slot >> address >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
    if (listening_only && state != "0A") continue; // TCP_LISTEN
    if (!address.ends_with(port)) continue;
    const std::string ip = address.substr(0, address.size() - port.size());
    if (ip == mine || ip.find_first_not_of('0') == std::string::npos) return inode;
  }
  return {};
}

std::optional<std::string> holder_of_inode(const std::string& inode) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const std::string wanted = "socket:[" + inode + "]";
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", ec)) {
    const std::string pid = process.path().filename();
    if (!std::isdigit(static_cast<unsigned char>(pid[0]))) continue;
    std::error_code denied;
    for (fs::directory_iterator fd(process.path() / "fd", denied), end; !denied && fd != end; fd.increment(denied)) {
      std::error_code gone;
      if (fs::read_symlink(fd->path(), gone).string() != wanted) continue;
      std::ifstream comm(process.path() / "comm");
      std::string name;
      std::getline(comm, name);
      return fmt::format("{} (pid {})", name, pid);
    }
  }
  return std::nullopt;
}

} // namespace

std::optional<std::string> port_holder(std::string_view protocol, const endpoint& local) {
  const bool tcp = protocol == "tcp";
  for (const char* suffix : {"", "6"}) {
    const std::string inode = find_inode(fmt::format("/proc/net/{}{}", protocol, suffix), local, tcp);
    if (inode.empty() || inode == "0") continue;
    if (auto who = holder_of_inode(inode)) return who;
  }
  return std::nullopt;
}

failure bind_failure(std::string_view protocol, const endpoint& local, int error_number) {
  failure out{fmt::format("cannot bind {} {}: {}", protocol, local.text(), std::strerror(error_number)), {}};
  if (error_number == EADDRINUSE) {
    if (const auto who = port_holder(protocol, local)) out.what += "; it is held by " + *who;
    out.hint = "stop that program, or choose another address or port for this node";
  } else if (error_number == EADDRNOTAVAIL) {
    out.hint = "the address is not one of this machine's: see `ip address`, then --address";
  } else if (error_number == EACCES) {
    out.hint = "ports below 1024 need CAP_NET_BIND_SERVICE";
  }
  return out;
}

outcome<void> probe_port(std::string_view protocol, const endpoint& local) {
  const bool tcp = protocol == "tcp";
  const owned_fd fd(::socket(family_of(local), (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!fd) return std::unexpected(bind_failure(protocol, local, errno));
  if (tcp) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1); // TIME_WAIT of a former run is nobody
  if (!local.ip.is_v4()) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  sockaddr_storage a;
  const socklen_t n = to_sockaddr(local, a);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0)
    return std::unexpected(bind_failure(protocol, local, errno));
  return {};
}

} // namespace skald::node
