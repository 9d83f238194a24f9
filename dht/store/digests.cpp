#include "dht/store/digests.hpp"

#include <algorithm>

namespace skald::dht {

std::uint64_t mixed(std::uint64_t h, std::uint64_t v) {
  h ^= v;
  h *= 0x9e3779b97f4a7c15ULL;
  return h ^ (h >> 29);
}

void digest_sum::add(std::uint64_t index, std::uint64_t digest) {
  if (digest == 0) return;
  a += last_mix(mixed(mixed(1, index), digest));
  b ^= last_mix(mixed(mixed(2, digest), index));
}

void digest_index::toggle(partition p, unix_ms reclaimed, std::uint64_t mark) {
  const auto step = reclaimed == kept_for_good
                        ? std::numeric_limits<std::uint32_t>::max()
                        : static_cast<std::uint32_t>(std::max<unix_ms>(reclaimed, 0) / digest_step.count());
  auto& parts = parts_[static_cast<std::uint16_t>(p)];
  auto at = std::ranges::lower_bound(parts, step, {}, &part::step);
  if (at == parts.end() || at->step != step) at = parts.insert(at, {step, 0});
  at->marks ^= mark;
  if (at->marks == 0) parts.erase(at);
  if (parts.empty()) parts_.erase(static_cast<std::uint16_t>(p));
}

std::uint64_t digest_index::at(partition p, unix_ms cut) const {
  const auto found = parts_.find(static_cast<std::uint16_t>(p));
  if (found == parts_.end()) return 0;
  const auto first = static_cast<std::uint32_t>(cut / digest_step.count());
  std::uint64_t marks = 0;
  for (auto at = std::ranges::lower_bound(found->second, first, {}, &part::step); at != found->second.end(); ++at) marks ^= at->marks;
  return marks;
}

partition_set digest_index::partitions() const {
  partition_set out;
  for (const auto& [p, parts] : parts_) out.set(partition{p});
  return out;
}

} // namespace skald::dht
