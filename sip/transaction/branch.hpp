#pragma once
// The branches that nodes of this cluster write (design §10): "z9hG4bK" and base64url of version, key id, worker,
// serial, loop hash and a MAC. A Via is ours if its branch verifies under the cluster's key, whichever node made it.
// Pure functions; any thread.
#include "base/errors.hpp"
#include "base/key_ring.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::sip {

struct branch_parts {
  std::uint16_t worker = 0;    // of the node in sent-by: whose transaction it is
  std::uint64_t serial = 0;    // never used twice; a worker starts at a random one, or a restart would repeat branches
  std::uint32_t loop_hash = 0; // RFC 5393 §4.2
  bool operator==(const branch_parts&) const = default;
};

// With an empty ring the branch is valid SIP, and verifies nowhere.
std::string make_branch(const key_ring& keys, unix_ms now, const branch_parts& parts);

// malformed: not of our form; unsupported: another version; not_authentic: of no key of the ring.
result<branch_parts> open_branch(std::string_view branch, const key_ring& keys);

} // namespace skald::sip
