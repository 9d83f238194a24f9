#pragma once
// What slows this node as a whole: the cluster thread's queue, on which every write waits, and memory. The watch runs on
// the cluster thread; workers read the signs.
#include "base/clock.hpp"
#include "node/io/loop.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace skald::node {

// Shared between threads; each field is one relaxed atomic.
class load_signs {
public:
  static constexpr std::size_t workers_max = 16;

  // How long a task given to the cluster thread now would wait, at least: its last turn, or the present one so far.
  duration cluster_waits(mono_time now) const;
  // The level below which no worker's admission may fall: memory.
  double floor() const { return floor_.load(std::memory_order_relaxed); }
  void tell(std::size_t worker, double level) { levels_[worker % workers_max].store(level, std::memory_order_relaxed); }
  double level() const; // the highest of all workers
  std::uint64_t memory_bytes() const { return memory_.load(std::memory_order_relaxed); }

private:
  friend class load_watch;
  std::atomic<mono_time> due_{mono_time::max()};
  std::atomic<duration> late_{duration{0}};
  std::atomic<double> floor_{0};
  std::atomic<std::uint64_t> memory_{0};
  std::array<std::atomic<double>, workers_max> levels_{};
};

inline constexpr duration load_watch_period = milliseconds(50);
inline constexpr duration memory_period = seconds(1);

class load_watch {
public:
  // `budget`: bytes of memory that this process may have. On the cluster thread, or before it runs.
  load_watch(load_signs& signs, loop& on, const clock& clk, std::uint64_t budget);
  ~load_watch();
  std::uint64_t budget() const { return budget_; }

private:
  void arm();
  void look_at_memory();

  load_signs& signs_;
  loop& loop_;
  const clock& clock_;
  std::uint64_t budget_;
  timer_id timer_ = timer_id::none;
  mono_time memory_at_{}, trimmed_at_{};
  bool tight_ = false;
};

// `configured_mb`, or three quarters of what the machine, or the control group that this process is in, gives.
std::uint64_t memory_budget(std::uint64_t configured_mb);

} // namespace skald::node
