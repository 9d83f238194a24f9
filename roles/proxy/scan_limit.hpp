#pragma once
// Who asks for many that do not exist, or tries many passwords: scanners. Each final answer 403 or 404 to a request out of
// dialog is a miss of its source; a source that misses faster than a limit is not heard for as long (design §5). One per
// node: requests of one source come to any worker. Striped; any thread.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/guarded.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <unordered_map>

namespace skald::roles {

inline constexpr duration miss_pause = milliseconds(200);  // one more miss is borne after that: five a second
inline constexpr int misses_at_once = 200;                 // saved up; a restart of a site's wrongly set phones is less
inline constexpr std::size_t scan_stripes = 16;
inline constexpr std::size_t scan_sources_max = 65'536;    // a node; over it a new source is not watched, and counted

// A source is an IPv4 address, or the /64 of an IPv6 one.
class scan_limit {
public:
  void miss(const ip_address& address, mono_time now);
  // Whether it has missed too often. Costs nothing where nobody ever missed.
  bool over(const ip_address& address, mono_time now) const;
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

private:
  // When all its misses are forgiven: each pushes that out by miss_pause.
  using stripe = std::unordered_map<ip_address, mono_time>;
  static std::size_t place_of(const ip_address& source);

  std::array<guarded<stripe>, scan_stripes> stripes_;
  std::atomic<std::size_t> size_{0};
};

} // namespace skald::roles
