#pragma once
// Hashes, MACs and the seal, over nettle. Pure functions: no state, no randomness, any thread.
#include "base/errors.hpp"

#include <string>
#include <string_view>

namespace skald::crypto {

std::string md5(std::string_view data);    // 16 bytes
std::string sha1(std::string_view data);   // 20 bytes
std::string sha256(std::string_view data); // 32 bytes
std::string hmac_sha256(std::string_view key, std::string_view data); // 32 bytes

// AES-SIV (RFC 5297) with AES-128 and no nonce: deterministic, misuse-resistant. `key` is 32 bytes; the result is
// 16 bytes longer than `plain`. `context` is authenticated, not carried.
std::string siv_seal(std::string_view key, std::string_view context, std::string_view plain);
result<std::string> siv_open(std::string_view key, std::string_view context, std::string_view sealed);

// Takes the same time whatever differs (for equal sizes).
bool equal_constant_time(std::string_view a, std::string_view b);

} // namespace skald::crypto
