#pragma once
// What two holders compare (consistency.md §4 "digests"): for each partition the exclusive or of its records' marks, over
// all that is kept at a cluster time that the asker names. Records are reclaimed by each holder at its own pace, so
// their marks are kept apart by the time they may be reclaimed: what may be before the named time counts on neither
// side. Cluster thread.
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "dht/store/partition_set.hpp"

#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

namespace skald::dht {

inline constexpr unix_ms kept_for_good = std::numeric_limits<unix_ms>::max();

// The time that an asker names: a multiple of the step, and so far ahead that nobody whose clock is off by the 2 s that
// are allowed has reclaimed what lives on then; and less ahead than what is live is kept (stub_margin), so that all that
// is live counts.
inline constexpr milliseconds digest_step{32'000}, digest_ahead{8'000};
inline unix_ms digest_cut(unix_ms now) {
  const auto step = digest_step.count();
  return (now + digest_ahead.count() + step - 1) / step * step;
}

class digest_index {
public:
  // Adds the mark if it is not in, else takes it out. `reclaimed`: when the record may be, or kept_for_good.
  void toggle(partition p, unix_ms reclaimed, std::uint64_t mark);
  std::uint64_t at(partition p, unix_ms cut) const; // 0: nothing
  partition_set partitions() const;                 // those with anything in

private:
  struct part {
    std::uint32_t step = 0; // of the time of reclaiming
    std::uint64_t marks = 0;
  };
  std::unordered_map<std::uint16_t, std::vector<part>> parts_; // sorted by step; none is empty
};

// A step of a digest over digests: order matters not, and equal sets have equal sums.
struct digest_sum {
  std::uint64_t a = 0, b = 0;
  bool operator==(const digest_sum&) const = default;
  void add(std::uint64_t index, std::uint64_t digest); // 0 adds nothing
};
std::uint64_t mixed(std::uint64_t h, std::uint64_t v); // for marks
inline std::uint64_t last_mix(std::uint64_t h) {
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
  return h ^ (h >> 31);
}

} // namespace skald::dht
