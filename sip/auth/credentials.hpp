#pragma once
// Authorization and Proxy-Authorization values (RFC 3261 §20.7, RFC 7616 §3.4) as what the digest needs of them.
#include "base/errors.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skald::sip {

enum class digest_algorithm : std::uint8_t { md5, sha256 };
std::string_view to_string(digest_algorithm a); // "MD5", "SHA-256"
std::optional<digest_algorithm> digest_algorithm_from(std::string_view text);

enum class digest_qop : std::uint8_t {
  none, // RFC 2069: no nc, no cnonce
  auth,
  auth_int, // never offered by us; answered 400
};

// Quotes and escapes taken off.
struct digest_credentials {
  std::string username, realm, nonce, uri, response, cnonce, opaque;
  digest_algorithm algorithm = digest_algorithm::md5;
  digest_qop qop = digest_qop::none;
  std::uint32_t nc = 0;
  std::string nc_text; // as it went into the hash
};

// unsupported: another scheme, algorithm or qop; malformed or missing: 400.
result<digest_credentials> parse_digest_credentials(std::string_view value);

// The realm of a challenge or of credentials, whatever the scheme; empty if there is none.
std::string realm_of(std::string_view auth_value_text);

} // namespace skald::sip
