#include "node/io/net_interfaces.hpp"

#include "node/io/socket_address.hpp"

#include <optional>

namespace skald::node {
namespace {

// connect() on UDP sends nothing: the kernel looks up the route and writes its source address. The peer stands for
// "somewhere outside": documentation addresses, routed nowhere else than by default.
std::optional<ip_address> source_towards(const char* outside) {
  const endpoint to{*ip_address::parse(outside), 9};
  const owned_fd fd(::socket(family_of(to), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage a;
  const socklen_t n = to_sockaddr(to, a);
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0) return std::nullopt;
  const ip_address ip = local_endpoint(fd.get()).ip;
  const bool link_local = !ip.is_v4() && ip.bytes[0] == 0xfe && (ip.bytes[1] & 0xc0) == 0x80;
  if (ip.is_any() || ip.is_loopback() || link_local) return std::nullopt;
  return ip;
}

} // namespace

outcome<std::vector<ip_address>> default_addresses() {
  std::vector<ip_address> out;
  for (const char* outside : {"192.0.2.1", "2001:db8::1"})
    if (const auto a = source_towards(outside)) out.push_back(*a);
  if (out.empty())
    return std::unexpected(failure{"this machine has no default route, so no address of it can be chosen",
                                   "name the addresses to serve: --address IP (may be repeated)"});
  return out;
}

} // namespace skald::node
