#pragma once
// One thread's events: sockets by epoll, timers by the project's scheduler. The clock is the machine's.
#include "base/clock.hpp"
#include "base/scheduler.hpp"

#include <functional>
#include <unordered_map>

namespace chaos {

using skald::duration;
using skald::milliseconds;
using skald::mono_time;

class loop {
public:
  loop();
  ~loop();
  loop(const loop&) = delete;

  mono_time now() const;
  void watch(int fd, std::function<void()> readable);
  void forget(int fd);
  void after(duration d, skald::scheduler::action what) { timers_.at(now() + d, std::move(what)); }
  void run(); // until stop()
  void stop() { running_ = false; }

private:
  int epoll_;
  bool running_ = true;
  skald::scheduler timers_;
  std::unordered_map<int, std::function<void()>> readable_;
};

} // namespace chaos
