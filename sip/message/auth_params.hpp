#pragma once
// The form that WWW-Authenticate, Authorization and their Proxy- twins share: a scheme, then name=value or name="value",
// separated by commas (RFC 3261 §25.1; RFC 7616). What they mean is sip/auth's.
#include "base/errors.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace skald::sip {

struct auth_param {
  std::string_view name;
  std::string_view value;  // without its quotes, escapes left in (params.hpp: unquote)
  bool quoted = false;
};

inline constexpr std::size_t auth_params_max = 32; // a challenge has about ten

struct auth_params {
  std::string_view scheme; // "Digest"
  std::vector<auth_param> params;

  std::optional<std::string_view> get(std::string_view name) const; // names are case-insensitive
};
// Malformed as well if a name comes twice: two readers could each believe another one. too_large over auth_params_max.
result<auth_params> parse_auth_params(std::string_view value);

} // namespace skald::sip
