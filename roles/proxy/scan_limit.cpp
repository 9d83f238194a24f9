#include "roles/proxy/scan_limit.hpp"

#include "base/metrics.hpp"
#include "base/source.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

metrics::counter misses("skald_proxy_misses_total", "Requests from outside for users that do not exist, or refused for their credentials.");
metrics::counter unwatched("skald_proxy_misses_unwatched_total", "Of these: from sources that are not watched, for there are too many.");

constexpr std::size_t stripe_sources_max = scan_sources_max / scan_stripes;

} // namespace

// The hash is mixed once more: its low bits are alike for networks, which end in zeros.
std::size_t scan_limit::place_of(const ip_address& source) {
  return static_cast<std::size_t>(std::hash<ip_address>{}(source) * 0x9e3779b97f4a7c15ULL >> 32) % scan_stripes;
}

void scan_limit::miss(const ip_address& address, mono_time now) {
  misses.add();
  const ip_address source = source_of(address);
  stripes_[place_of(source)].with([&](stripe& s) {
    const std::size_t before = s.size();
    if (before >= stripe_sources_max && !s.contains(source)) std::erase_if(s, [now](const auto& e) { return e.second <= now; });
    if (s.size() >= stripe_sources_max && !s.contains(source)) unwatched.add();
    else {
      mono_time& forgiven = s[source];
      // What was under way when the limit was met is not held against it without end.
      forgiven = std::min(std::max(forgiven, now) + miss_pause, now + (misses_at_once + 1) * miss_pause);
    }
    size_.fetch_add(s.size() - before, std::memory_order_relaxed); // modulo: may be less
  });
}

bool scan_limit::over(const ip_address& address, mono_time now) const {
  if (size() == 0) return false;
  const ip_address source = source_of(address);
  return stripes_[place_of(source)].with([&](const stripe& s) {
    const auto it = s.find(source);
    return it != s.end() && it->second - now > misses_at_once * miss_pause;
  });
}

} // namespace skald::roles
