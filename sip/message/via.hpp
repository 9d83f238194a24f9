#pragma once
// Via (RFC 3261 §20.42, rport: RFC 3581).
#include "base/errors.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skald::sip {

struct via {
  std::string_view transport; // "UDP", "TCP", "TLS", "WS" …, as on the wire
  std::string_view host;      // IPv6 references keep their brackets
  std::uint16_t port = 0;     // 0: not given
  std::string_view params;    // with the first ';'
  std::string_view branch;    // "" if absent

  std::optional<std::string_view> param(std::string_view name) const;
};
result<via> parse_via(std::string_view value);

} // namespace skald::sip
