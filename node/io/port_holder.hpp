#pragma once
// Who has a port that we cannot bind (design §10): looked up in /proc, best effort.
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace skald::node {

// "named (pid 812)"; nullopt: nobody found, or not ours to see. `protocol`: "udp" or "tcp". Start-up only: it walks /proc.
std::optional<std::string> port_holder(std::string_view protocol, const endpoint& local);

// "cannot bind udp 192.0.2.1:5060: Address already in use; it is held by kamailio (pid 99)", with a way out.
failure bind_failure(std::string_view protocol, const endpoint& local, int error_number);

// Fails if anybody has the port, another process of this user with SO_REUSEPORT too (the kernel would let both bind
// and share the traffic among them).
outcome<void> probe_port(std::string_view protocol, const endpoint& local);

} // namespace skald::node
