#pragma once
// host [ ":" port ] (RFC 3261 §25.1), as it stands in URIs and in Via's sent-by.
#include "base/errors.hpp"

#include <cstdint>
#include <string_view>

namespace skald::sip {

struct host_port {
  std::string_view host; // a name, an IPv4 address, or an IPv6 reference with its brackets
  std::uint16_t port = 0; // 0: not given; a written port 0 is malformed
};

enum class white_space : std::uint8_t { nowhere, around_colon };
result<host_port> parse_host_port(std::string_view text, white_space allowed);

} // namespace skald::sip
