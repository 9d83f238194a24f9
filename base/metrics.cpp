#include "base/metrics.hpp"

#include "base/errors.hpp"
#include "base/guarded.hpp"

#include <algorithm>
#include <tuple>

namespace skald::metrics {
namespace {

struct entry {
  std::string_view name, help, labels;
  const counter* as_counter;
  const gauge* as_gauge;
};

guarded<std::vector<entry>>& registry() {
  static guarded<std::vector<entry>> all;
  return all;
}

// Two things counted under one name would be read as one: that is a mistake in the program.
void enter(const entry& e) {
  registry().with([&](auto& all) {
    for (const entry& other : all)
      SKALD_ASSERT(e.name != other.name || e.labels != other.labels);
    all.push_back(e);
  });
}

std::atomic<std::size_t> next_slot{0};

} // namespace

std::size_t this_thread_slot() {
  thread_local const std::size_t slot = next_slot.fetch_add(1, std::memory_order_relaxed) % slot_count;
  return slot;
}

counter::counter(std::string_view name, std::string_view help, std::string_view labels) {
  enter({name, help, labels, this, nullptr});
}

std::uint64_t counter::value() const {
  std::uint64_t sum = 0;
  for (const slot& s : slots_) sum += s.value.load(std::memory_order_relaxed);
  return sum;
}

gauge::gauge(std::string_view name, std::string_view help, std::string_view labels) {
  enter({name, help, labels, nullptr, this});
}

std::vector<sample> collect() {
  std::vector<sample> out;
  registry().with([&](const auto& all) {
    for (const entry& e : all)
      out.push_back({e.name, e.help, e.labels, e.as_counter != nullptr,
                     e.as_counter ? static_cast<std::int64_t>(e.as_counter->value()) : e.as_gauge->value()});
  });
  std::ranges::sort(out, [](const sample& a, const sample& b) {
    return std::tie(a.name, a.labels) < std::tie(b.name, b.labels);
  });
  return out;
}

} // namespace skald::metrics
