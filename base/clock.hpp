#pragma once
// Time as a parameter. Logic never reads the machine's clock: it is handed `now`, or a `clock` at construction.
#include <chrono>
#include <cstdint>

namespace skald {

using duration = std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Tag of the monotonic time line (CLOCK_BOOTTIME in production, virtual in the simulation). It has no now():
// whoever needs the time gets it from a `clock`.
struct mono_clock {
  using duration = skald::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<mono_clock>;
  static constexpr bool is_steady = true;
};
using mono_time = mono_clock::time_point;

// Milliseconds since 1970-01-01 UTC. A plain number, because it travels in nonces, records and JSON.
using unix_ms = std::int64_t;

// Port: the time. Implementations may be called from any thread.
class clock {
public:
  virtual ~clock() = default;
  virtual mono_time now() const = 0;
  virtual unix_ms wall() const = 0;
};

// The clock of unit tests and of the simulation: stands still until moved. One thread.
class manual_clock final : public clock {
public:
  explicit manual_clock(unix_ms start = 1'700'000'000'000) : start_(start) {}
  mono_time now() const override { return mono_time{} + elapsed_; }
  unix_ms wall() const override { return start_ + std::chrono::duration_cast<milliseconds>(elapsed_).count(); }
  void advance(duration d) { elapsed_ += d; }

private:
  unix_ms start_;
  duration elapsed_{seconds(1)};
};

} // namespace skald
