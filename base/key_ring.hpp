#pragma once
// The keys of the cluster (consistency.md §8): nonces, tokens and branches are made with the signing key and checked
// with any key of the ring. A ring is an immutable value: threads hold a shared_ptr<const key_ring> and swap it whole.
#include "base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald {

struct cluster_key {
  std::uint32_t id = 0;   // random, never 0; travels in nonces, tokens and branches
  unix_ms made = 0;
  std::string secret;     // 32 bytes; never logged

  // An independent 32-byte key for one purpose ("nonce", "token", "branch"): HMAC-SHA-256(secret, purpose).
  std::string derive(std::string_view purpose) const;
};

class key_ring {
public:
  key_ring() = default;
  explicit key_ring(std::vector<cluster_key> keys); // duplicates by id are dropped

  // A set that only grows and expires; merging is a union.
  key_ring merged_with(const key_ring& other) const;

  // The newest key that is at least 5 s old, so that every node has it before it signs; else the oldest there is.
  // nullptr only for an empty ring.
  const cluster_key* signing(unix_ms now) const;
  const cluster_key* find(std::uint32_t id) const;
  const std::vector<cluster_key>& keys() const { return keys_; } // oldest first

private:
  std::vector<cluster_key> keys_;
};

inline constexpr milliseconds key_settle_time{5000};

} // namespace skald
