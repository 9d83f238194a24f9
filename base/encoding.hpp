#pragma once
// Bytes are std::string (owned) and std::string_view (seen). Here: their texts in hex, base64 and base64url.
#include "base/errors.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald {

std::string to_hex(std::string_view bytes); // lower case
result<std::string> from_hex(std::string_view text);

std::string to_base64(std::string_view bytes); // RFC 4648 §4, padded
result<std::string> from_base64(std::string_view text);

std::string to_base64url(std::string_view bytes); // RFC 4648 §5, no padding
result<std::string> from_base64url(std::string_view text);

// ASCII only, whatever the locale: what SIP and DNS mean by case-insensitive.
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool equal_nocase(std::string_view a, std::string_view b);
std::string to_lower(std::string_view s);

// Big-endian integers of the compact binary formats (tokens, nonces).
template <class U>
void put_be(std::string& out, U value) {
  for (int shift = static_cast<int>(sizeof(U)) * 8 - 8; shift >= 0; shift -= 8)
    out.push_back(static_cast<char>((value >> shift) & 0xff));
}
template <class U>
U get_be(std::string_view in) { // in.size() >= sizeof(U)
  U value = 0;
  for (std::size_t i = 0; i < sizeof(U); ++i) value = static_cast<U>((value << 8) | static_cast<std::uint8_t>(in[i]));
  return value;
}

} // namespace skald
