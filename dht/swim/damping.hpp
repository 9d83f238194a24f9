#pragma once
// A process that lives on and is removed again and again must not swing the ring each time: from the third removal
// within an hour it comes back as *joining* and stays so for a while (ring-and-membership B5). Pure.
#include "base/clock.hpp"

#include <algorithm>
#include <deque>

namespace skald::dht {

class damping {
public:
  // This process was removed. Returns for how long it has to stay *joining*; zero: it returns in the state it had.
  duration removed(mono_time now) {
    while (!removals_.empty() && now - removals_.front() > window) removals_.pop_front();
    removals_.push_back(now);
    if (removals_.size() < free_removals) return duration::zero();
    const auto doublings = std::min<std::size_t>(removals_.size() - free_removals, 6);
    return std::min<duration>(first_penalty * (1 << doublings), longest_penalty);
  }

private:
  static constexpr duration window = std::chrono::hours(1);
  static constexpr std::size_t free_removals = 3; // the third one pays
  static constexpr duration first_penalty = seconds(10);
  static constexpr duration longest_penalty = std::chrono::minutes(10);
  std::deque<mono_time> removals_; // grows by one a removal, at most as many as an hour has
};

} // namespace skald::dht
