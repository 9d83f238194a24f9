#include "node/io/system_clock.hpp"

#include <ctime>

namespace skald::node {
namespace {

std::int64_t read_us(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000 + t.tv_nsec / 1000;
}

} // namespace

mono_time system_clock::now() const { return mono_time{duration(read_us(CLOCK_BOOTTIME))}; }
unix_ms system_clock::wall() const { return read_us(CLOCK_REALTIME) / 1000; }

} // namespace skald::node
