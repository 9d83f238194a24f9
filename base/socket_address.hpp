#pragma once
// endpoint <-> sockaddr: values for those who own sockets.
#include "base/endpoint.hpp"

#include <sys/socket.h>

namespace skald {

socklen_t to_sockaddr(const endpoint& from, sockaddr_storage& out); // how much of `out` is used
endpoint from_sockaddr(const sockaddr_storage& from);               // neither IPv4 nor IPv6: 0.0.0.0:0

} // namespace skald
