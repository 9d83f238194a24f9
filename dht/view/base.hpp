#pragma once
// The base: the last set of members that was agreed, with an epoch (consistency.md §7). How many nodes have to hold a
// write, whether a node alone may serve, and who may publish in a split are counted against it. On disk and in gossip.
#include "base/ids.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace skald::dht {

inline constexpr std::uint64_t base_epoch_max = std::uint64_t{1} << 62; // a peer may claim no more

struct base {
  std::uint64_t epoch = 0;       // 0: none yet; of two, the higher epoch is adopted
  std::vector<node_id> members;  // sorted, each once

  explicit operator bool() const { return epoch != 0; }
  bool contains(const node_id& id) const { return std::ranges::binary_search(members, id); }
  std::size_t size() const { return members.size(); }
  bool operator==(const base&) const = default;
};

} // namespace skald::dht
