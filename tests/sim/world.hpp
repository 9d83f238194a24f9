#pragma once
// Time, chance and the record of a simulated run: one thread, one queue of events, one seed. The same seed gives the same
// run, byte for byte, which `hash()` shows.
#include "base/clock.hpp"
#include "base/rng.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::sim {

inline constexpr std::size_t last_events_kept = 60; // what a failing seed prints

class world {
public:
  using action = std::move_only_function<void()>;
  explicit world(std::uint64_t seed) : random(seed), seed_(seed) {}

  mono_time now() const { return now_; }
  duration elapsed() const { return now_ - began; }
  std::uint64_t seed() const { return seed_; }
  // Events of one instant run in the order in which they were set.
  void at(mono_time when, action what);
  void after(duration d, action what) { at(now_ + d, std::move(what)); }
  void run_until(mono_time end);
  void run_for(duration d) { run_until(now_ + d); }
  void stop() { stopped_ = true; } // no further event
  bool stopped() const { return stopped_; }
  std::uint64_t events() const { return sequence_; }

  // A line of the trace: what a person reads when a seed fails.
  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    keep(fmt::format(text, std::forward<Args>(args)...));
  }
  // Into the hash alone: what is too much for a line, such as each datagram.
  void mix(std::string_view bytes);
  void mix(std::uint64_t number);
  std::uint64_t hash() const { return hash_; }
  const std::deque<std::string>& last_events() const { return last_; }
  bool echo = false; // print each line as it is made
  bool deep = false; // more lines: streams, and each record that is stored

  seeded_rng random; // of the network and of faults; nodes and phones have generators of their own
  static constexpr mono_time began{seconds(1000)};

private:
  struct event {
    mono_time at;
    std::uint64_t sequence;
    action what;
  };
  static bool later(const event& a, const event& b) { return a.at != b.at ? a.at > b.at : a.sequence > b.sequence; }
  void keep(std::string line);

  std::uint64_t seed_;
  mono_time now_ = began;
  std::vector<event> heap_;
  std::uint64_t sequence_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  std::deque<std::string> last_;
  bool stopped_ = false;
};

} // namespace skald::sim
