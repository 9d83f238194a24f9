#pragma once
// STUN as a keep-alive on a SIP flow (RFC 5626 §8, RFC 5389): binding requests are answered with the mapped address.
#include "base/endpoint.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace skald::node {

// The first two bits are zero and the magic cookie is there: no SIP message begins like this.
bool is_stun(std::string_view datagram);
// The answer to a binding request; nullopt: anything else, to be dropped.
std::optional<std::string> stun_answer(std::string_view datagram, const endpoint& from);

} // namespace skald::node
