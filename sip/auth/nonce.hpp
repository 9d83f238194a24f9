#pragma once
// Nonces that every node of the cluster can check and none has to keep (sip.md §3): time, 32 random bits, key id,
// HMAC(key, time, random, realm). Pure functions; any thread.
#include "base/clock.hpp"
#include "base/key_ring.hpp"
#include "base/rng.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::sip {

inline constexpr seconds nonce_life{300};

// 43 characters of base64url. Empty if the ring is empty. `rng` has to be the system's generator in production.
std::string make_nonce(const key_ring& keys, unix_ms now, rng& random, std::string_view realm);

enum class nonce_verdict : std::uint8_t {
  fresh,
  stale,  // ours, or of a key that is not in the ring (any more), and older than nonce_life: a right digest gets
          // stale=true
  forged, // not of our form, or not made by this cluster for this realm. A phone that was another server's until now
          // sends such a one; with a right digest stale=true does no harm there either
};

struct nonce_check {
  nonce_verdict verdict = nonce_verdict::forged;
  std::uint64_t id = 0; // names it in replay windows; forged: 0
  unix_ms made = 0;     // cluster time; forged: 0
};
nonce_check check_nonce(std::string_view nonce, const key_ring& keys, unix_ms now, std::string_view realm);

} // namespace skald::sip
