#pragma once
// Runs resolutions (RFC 3263) against a dns_port. One thread: each worker has its own.
#include "sip/resolve/resolution.hpp"

#include <functional>
#include <memory>

namespace skald::sip {

inline constexpr std::size_t resolutions_max = 20'000; // at once; over it: failed

class resolver {
public:
  using callback = std::move_only_function<void(resolved)>;

  // `dns` and `random` must outlive this.
  resolver(dns_port& dns, rng& random, resolve_options options = {});
  ~resolver(); // resolutions under way are dropped, their callbacks never called

  // `done` runs exactly once on this thread: before resolve() returns, if no question is needed or all answers are at
  // hand, else later.
  void resolve(const uri& where, callback done);
  std::size_t size() const; // resolutions under way

private:
  struct core;
  struct job;
  static void pump(const std::shared_ptr<job>& j);
  std::shared_ptr<core> core_; // callbacks of the port hold it weakly
};

} // namespace skald::sip
