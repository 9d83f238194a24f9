#pragma once
// Counters and gauges. Adding is one relaxed atomic in a slot of the thread's own; nothing is shared on a hot path.
// A metric is a namespace-scope object; it registers itself by name and lives as long as the program.
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skald::metrics {

inline constexpr std::size_t slot_count = 16;
std::size_t this_thread_slot();

class counter {
public:
  // `name` in Prometheus style ("skald_sip_requests_total"), `labels` as they stand between the braces
  // (R"(reason="no_certificate")") or empty. All three must be literals.
  counter(std::string_view name, std::string_view help, std::string_view labels = {});
  counter(const counter&) = delete;
  counter& operator=(const counter&) = delete;

  void add(std::uint64_t n = 1) { slots_[this_thread_slot()].value.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const;

private:
  struct alignas(64) slot {
    std::atomic<std::uint64_t> value{0};
  };
  std::array<slot, slot_count> slots_;
};

class gauge {
public:
  gauge(std::string_view name, std::string_view help, std::string_view labels = {});
  gauge(const gauge&) = delete;
  gauge& operator=(const gauge&) = delete;

  void set(std::int64_t v) { value_.store(v, std::memory_order_relaxed); }
  void add(std::int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

private:
  std::atomic<std::int64_t> value_{0};
};

struct sample {
  std::string_view name, help, labels;
  bool is_counter;
  std::int64_t value;
};
std::vector<sample> collect(); // sorted by name, then labels; any thread

} // namespace skald::metrics
