#pragma once
// Whether this node says of itself that it is overloaded, so that SRV names others (sip.md §10). Slow to take back: what
// SRV spares it is what made it overloaded. Pure; cluster thread.
#include "base/clock.hpp"

#include <optional>

namespace skald::node {

inline constexpr double overload_said_from = 0.5;            // of load_signs::level(): half of the registrations are turned away
inline constexpr duration overload_said_after = seconds(1);  // of that; out of SRV within two seconds (design §7)
inline constexpr duration overload_over_after = seconds(30); // of nobody turned away

class overload_sign {
public:
  // The level now; a few times a second. True: overloaded.
  bool look(double level, mono_time now) {
    const bool towards_change = said_ ? level <= 0 : level >= overload_said_from;
    if (!towards_change) since_.reset();
    else if (!since_) since_ = now;
    if (since_ && now - *since_ >= (said_ ? overload_over_after : overload_said_after)) {
      said_ = !said_;
      since_.reset();
    }
    return said_;
  }

private:
  bool said_ = false;
  std::optional<mono_time> since_; // that the level has spoken for a change
};

} // namespace skald::node
