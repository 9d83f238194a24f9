#include "node/io/load_watch.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <malloc.h>
#include <string>
#include <unistd.h>

namespace skald::node {
namespace {

metrics::gauge level_gauge("skald_overload_level_percent",
                           "Overload: up to 100 the share of registrations turned away, above it that of calls.");
metrics::gauge memory_gauge("skald_memory_bytes", "Resident memory of the process.");

// Of the budget: from `tight` on registrations are turned away, from `full` on calls too.
constexpr double tight = 0.90, full = 0.97;
constexpr duration trim_period = seconds(10);

std::uint64_t number_in(const char* path) {
  std::uint64_t n = 0;
  std::ifstream(path) >> n; // "max": stays 0
  return n;
}

std::uint64_t resident() {
  std::uint64_t whole = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> whole >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

} // namespace

std::uint64_t memory_budget(std::uint64_t configured_mb) {
  if (configured_mb != 0) return configured_mb << 20;
  std::uint64_t most = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    if (const std::uint64_t n = number_in(path); n != 0) most = std::min(most, n);
  return most / 4 * 3;
}

duration load_signs::cluster_waits(mono_time now) const {
  const mono_time due = due_.load(std::memory_order_relaxed);
  return std::max(late_.load(std::memory_order_relaxed), now > due ? now - due : duration{0});
}

double load_signs::level() const {
  double most = 0;
  for (const auto& l : levels_) most = std::max(most, l.load(std::memory_order_relaxed));
  return most;
}

load_watch::load_watch(load_signs& signs, loop& on, const clock& clk, std::uint64_t budget)
    : signs_(signs), loop_(on), clock_(clk), budget_(budget) {
  arm();
}

load_watch::~load_watch() {
  loop_.timers().cancel(timer_);
  signs_.due_ = mono_time::max();
}

void load_watch::arm() {
  const mono_time due = clock_.now() + load_watch_period;
  signs_.due_.store(due, std::memory_order_relaxed);
  timer_ = loop_.timers().at(due, [this, due] {
    const mono_time now = clock_.now();
    signs_.late_.store(std::max(now - due, duration{0}), std::memory_order_relaxed);
    if (now >= memory_at_) {
      memory_at_ = now + memory_period;
      look_at_memory();
      level_gauge.set(static_cast<std::int64_t>(signs_.level() * 100));
    }
    arm();
  });
}

// What was freed stays with the process until it is given back: that is tried before anybody is turned away for it.
void load_watch::look_at_memory() {
  std::uint64_t used = resident();
  if (static_cast<double>(used) > tight * static_cast<double>(budget_) && clock_.now() - trimmed_at_ > trim_period) {
    trimmed_at_ = clock_.now();
    ::malloc_trim(0);
    used = resident();
  }
  const double share = static_cast<double>(used) / static_cast<double>(budget_);
  signs_.memory_.store(used, std::memory_order_relaxed);
  memory_gauge.set(static_cast<std::int64_t>(used));
  signs_.floor_.store(share > full ? 2.0 : share > tight ? 1.0 : 0.0, std::memory_order_relaxed);
  if (tight_ == (share > tight)) return;
  tight_ = share > tight;
  if (tight_)
    log::warning("overload", fmt::format("{} MiB of memory are in use, of {}: registrations are turned away; see memory_mb", used >> 20, budget_ >> 20));
  else
    log::info("overload", fmt::format("memory is down to {} MiB of {}", used >> 20, budget_ >> 20));
}

} // namespace skald::node
