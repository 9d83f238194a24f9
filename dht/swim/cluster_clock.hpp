#pragma once
// Cluster time: the monotonic clock and an offset that is slewed to the median of the members' own clocks
// (consistency.md §5). A clock that is an hour wrong neither wins every merge nor expires anybody's binding.
//
// time() and deviation(): any thread. All else: cluster thread.
#include "base/clock.hpp"
#include "base/ids.hpp"

#include <atomic>
#include <unordered_map>
#include <vector>

namespace skald::dht {

class cluster_clock {
public:
  // Starts at this node's own clock.
  cluster_clock(mono_time now, unix_ms own_clock) : own_(offset_of(now, own_clock)), offset_(own_.load()) {}

  unix_ms time(mono_time now) const { return (now.time_since_epoch().count() + offset_.load(std::memory_order_relaxed)) / 1000; }

  // A member's own clock showed `theirs` at this node's `now` (the one-way delay already added).
  void sample(const node_id& member, unix_ms theirs, mono_time now);
  // The same without the delay: counts if it says something else, or nothing was known.
  void heard(const node_id& member, unix_ms theirs, mono_time now);
  void forget(const node_id& member);

  // A joiner takes the time of those that serve. Nobody else steps.
  void step(unix_ms cluster_time, mono_time now) { offset_ = offset_of(now, cluster_time); }
  // Where nobody serves there is no time to take: whoever begins takes the median of the clocks that it knows of.
  void begin() { offset_ = median(); }

  // Call about once a second, with this node's own clock.
  void adjust(mono_time now, unix_ms own_clock);

  // How far this node's own clock is from the median; over 2 s it is worth a line in log and status.
  milliseconds deviation() const { return milliseconds((own_.load() - median_.load()) / 1000); }
  static constexpr milliseconds deviation_worth_telling{2000};

private:
  static constexpr std::int64_t slew_ppm = 500;
  static std::int64_t offset_of(mono_time now, unix_ms clock) { return clock * 1000 - now.time_since_epoch().count(); }
  std::int64_t median();

  std::unordered_map<node_id, std::int64_t> members_; // µs from our monotonic clock to their own; bounded by membership
  std::vector<std::int64_t> sorted_;                  // kept for its memory
  std::atomic<std::int64_t> own_;                     // µs, of our own clock
  std::atomic<std::int64_t> median_{own_.load()};
  std::atomic<std::int64_t> offset_;
  mono_time adjusted_{};
};

} // namespace skald::dht
