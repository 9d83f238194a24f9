#pragma once
// Timers of one thread, ordered by (deadline, sequence): two timers of one deadline run in the order they were set,
// every time. It reads no clock: the loop calls run_due(now) and sleeps until next_deadline().
#include "base/clock.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

namespace skald {

enum class timer_id : std::uint64_t { none = 0 };

class scheduler {
public:
  using action = std::move_only_function<void()>;

  timer_id at(mono_time deadline, action what);
  // True if the timer had not run yet. Cancelling `none` or a timer that ran is harmless.
  bool cancel(timer_id id);

  // Runs what is due, including what the actions themselves set for no later than `now`. Returns how many ran.
  std::size_t run_due(mono_time now);
  std::optional<mono_time> next_deadline();
  std::size_t size() const { return actions_.size(); }

private:
  struct entry {
    mono_time deadline;
    std::uint64_t sequence;
  };
  static bool later(const entry& a, const entry& b);
  void drop_cancelled();

  std::vector<entry> heap_;
  std::unordered_map<std::uint64_t, action> actions_;
  std::uint64_t next_ = 1;
};

} // namespace skald
