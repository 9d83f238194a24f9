#pragma once
// One thread's event loop: file descriptors (asio behind it), the timers of base/scheduler.hpp, and a queue from other
// threads. A turn is: whatever became ready, then due timers, then the hooks that asked for the turn's end (batched
// sends leave there), then sleep.
#include "base/clock.hpp"
#include "base/scheduler.hpp"

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace asio {
class io_context;
}

namespace skald::node {

// Over it post() refuses: the thread behind the loop does not keep up.
inline constexpr std::size_t loop_queue_max = 200'000;
inline constexpr duration turn_max = milliseconds(5); // no handler is begun later in a turn

// Port: called once at the end of the turn in which defer() was called. Must undefer() before it dies.
class turn_hook {
public:
  virtual void on_turn_end() = 0;

protected:
  ~turn_hook() = default;
};

class loop {
public:
  using task = std::move_only_function<void()>;

  // The clock outlives the loop.
  explicit loop(const clock& clk);
  ~loop();
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;

  // Runs on the calling thread until stop().
  void run();
  // Any thread; a run() that comes later returns at once too.
  void stop();

  // Any thread. Tasks run in the order they were posted; many posts cost one wake-up. False: the queue is full, counted.
  bool post(task what);
  // Like post(), but never refused: for what must happen (stop, hand-over of ownership). Callers are few.
  void post_always(task what);

  // ---- the loop's thread only (or before run()):
  scheduler& timers() { return timers_; }
  const clock& time() const { return clock_; }
  mono_time now() const { return clock_.now(); }
  void defer(turn_hook& hook);
  void undefer(turn_hook& hook);
  asio::io_context& io() { return *io_; }
  bool on_this_thread() const { return runner_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

private:
  bool enqueue(task what, bool bounded);
  void run_posted();
  void run_hooks();

  const clock& clock_;
  scheduler timers_;
  std::unique_ptr<asio::io_context> io_;
  std::atomic<std::thread::id> runner_{};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<task> posted_; // under mutex_
  std::vector<turn_hook*> hooks_;
  std::vector<turn_hook*> running_hooks_;
};

// Readiness of one descriptor, owned by somebody else, who closes it after this is gone. Each wait is one shot; after
// the destructor no callback runs. The loop's thread only.
class fd_watch {
public:
  fd_watch(loop& on, int fd);
  ~fd_watch();
  fd_watch(const fd_watch&) = delete;
  fd_watch& operator=(const fd_watch&) = delete;

  void when_readable(loop::task what);
  void when_writable(loop::task what);

private:
  struct state;
  std::shared_ptr<state> state_;
};

} // namespace skald::node
