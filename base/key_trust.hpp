#pragma once
// Keys of the cluster that a revoked node may have taken along (consistency.md §8). They stay in the ring: path tokens of
// phones that registered before still open, on links only. But a dialog token under one has to be confirmed otherwise, and
// a nonce under one is refused as soon as a key from after the revocation signs.
//
// The mark is a time of making before all others, so that the ring's order and its choice of a signing key stay as they
// are: who was never trusted less than another signs only while no later key may.
#include "base/key_ring.hpp"

namespace skald {

inline constexpr unix_ms distrusted_shift = unix_ms{1} << 52; // more than any time in ms

inline bool distrusted(const cluster_key& k) { return k.made < 0; }
// `revoked_at`: the time of the latest revocation. Only once there is a key from after it: something has to sign.
inline key_ring distrust_before(const key_ring& ring, unix_ms revoked_at) {
  std::vector<cluster_key> keys = ring.keys();
  if (keys.empty() || keys.back().made < revoked_at) return ring;
  for (cluster_key& k : keys)
    if (k.made >= 0 && k.made < revoked_at) k.made -= distrusted_shift;
  return key_ring(std::move(keys));
}

} // namespace skald
