#pragma once
// The hybrid logical clock that makes versions: 48 bits of ms, 16 bits of counter (consistency.md §3, §5).
#include "dht/store/store.hpp"

#include <algorithm>
#include <optional>

namespace skald::dht {

// No version is made, and no direct write is taken, that lies further ahead of cluster time.
inline constexpr milliseconds version_ahead_max{2000};

inline bool too_far_ahead(version v, unix_ms now) { return v.time() > now + version_ahead_max.count(); }

class hybrid_clock {
public:
  explicit hybrid_clock(std::uint64_t writer) : writer_(writer) {}

  // What lies too far ahead does not carry the clock along: it costs its own item only (§5).
  void seen(version v, unix_ms now) {
    if (!too_far_ahead(v, now)) last_ = std::max(last_, v.hlc);
  }
  // Above all made and seen, and above `held`, the item's present version. nullopt: that would be too far ahead.
  std::optional<version> next(unix_ms now, version held) {
    const auto hlc = std::max({static_cast<std::uint64_t>(now) << 16, last_ + 1, held.hlc + 1});
    const version v{hlc, writer_};
    if (too_far_ahead(v, now)) return std::nullopt;
    last_ = hlc;
    return v;
  }

private:
  std::uint64_t writer_;
  std::uint64_t last_ = 0;
};

} // namespace skald::dht
