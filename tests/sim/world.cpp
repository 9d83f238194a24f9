#include "tests/sim/world.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace skald::sim {

void world::at(mono_time when, action what) {
  heap_.push_back({std::max(when, now_), sequence_++, std::move(what)});
  std::ranges::push_heap(heap_, later);
}

void world::run_until(mono_time end) {
  while (!stopped_ && !heap_.empty() && heap_.front().at <= end) {
    std::ranges::pop_heap(heap_, later);
    event e = std::move(heap_.back());
    heap_.pop_back();
    now_ = e.at;
    e.what();
  }
  if (!stopped_) now_ = end;
}

void world::mix(std::uint64_t number) {
  hash_ ^= number;
  hash_ *= 0x9e3779b97f4a7c15ULL;
  hash_ ^= hash_ >> 29;
}

void world::mix(std::string_view bytes) {
  mix(bytes.size());
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const auto n = std::min(bytes.size(), sizeof word);
    std::memcpy(&word, bytes.data(), n);
    mix(word);
    bytes.remove_prefix(n);
  }
}

void world::keep(std::string line) {
  const auto us = elapsed().count();
  line = fmt::format("{:5}.{:06} {}", us / 1'000'000, us % 1'000'000, line);
  mix(line);
  if (echo) std::printf("%s\n", line.c_str());
  last_.push_back(std::move(line));
  if (last_.size() > last_events_kept) last_.pop_front();
}

} // namespace skald::sim
