#pragma once
// Data that is reachable only through its lock. Hold the lock briefly, never across I/O or a callback.
#include <mutex>
#include <utility>

namespace skald {

template <class T>
class guarded {
public:
  template <class... Args>
  explicit guarded(Args&&... args) : value_(std::forward<Args>(args)...) {}

  template <class F>
  decltype(auto) with(F&& f) {
    const std::scoped_lock lock(mutex_);
    return std::forward<F>(f)(value_);
  }
  template <class F>
  decltype(auto) with(F&& f) const {
    const std::scoped_lock lock(mutex_);
    return std::forward<F>(f)(value_);
  }

private:
  mutable std::mutex mutex_;
  T value_;
};

} // namespace skald
