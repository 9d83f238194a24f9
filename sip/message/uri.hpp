#pragma once
// SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966) as views over their text.
#include "base/errors.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skald::sip {

enum class uri_scheme : std::uint8_t { sip, sips, tel, other };

struct uri {
  uri_scheme scheme = uri_scheme::other;
  std::string_view text;                    // the whole
  std::string_view scheme_text;
  std::string_view user;                    // escaped as on the wire; for tel: the number; empty if there is none
  std::optional<std::string_view> password;
  std::string_view host;                    // IPv6 references keep their brackets
  std::uint16_t port = 0;                   // 0: not given
  std::string_view params;                  // ";transport=tcp;lr", with its first ';', or empty
  std::string_view headers;                 // "?subject=x" or empty

  // nullopt: absent; "" : present without a value. Names are compared case-insensitively.
  std::optional<std::string_view> param(std::string_view name) const;
  bool has_param(std::string_view name) const { return param(name).has_value(); }
};

result<uri> parse_uri(std::string_view text);
bool equal(const uri& a, const uri& b);        // §19.1.4
std::string unescape(std::string_view text);   // %HH; for comparing and for keys, never for the wire
// The canonical address of record "sip:user@domain" (ring-and-membership A7): domain in lower case, user unescaped
// where §19.1.4 lets it, no port, no parameters. tel: NUMBER becomes user (visual separators dropped) at `default_domain`.
result<std::string> canonical_aor(const uri& u, std::string_view default_domain);

} // namespace skald::sip
