#pragma once
// How far this node trusts its own clockwork: one that runs late, or that others had to suspect, waits longer before it
// suspects anybody (Lifeguard; ring-and-membership B1). Pure.
#include "dht/swim/profile.hpp"

#include <algorithm>

namespace skald::dht {

class local_health {
public:
  // A heartbeat's tick ran this much after its time.
  void ticked(duration late, const profile& p) {
    if (late > p.heartbeat / 2) return worsen();
    // It must get better with time, not with successful probes: else a cluster of three stays at the worst for ever.
    if (++punctual_ < punctual_ticks_to_recover) return;
    punctual_ = 0;
    level_ = std::max(0, level_ - 1);
  }
  void refuted_a_suspicion() { worsen(); }

  int level() const { return level_; }
  duration silence(const profile& p) const { return p.silence + level_ * p.heartbeat / 2; }
  duration probe(const profile& p) const { return p.probe + level_ * p.probe / 2; }

private:
  static constexpr int worst = 4;
  static constexpr int punctual_ticks_to_recover = 10;
  void worsen() {
    level_ = std::min(worst, level_ + 1);
    punctual_ = 0;
  }

  int level_ = 0;
  int punctual_ = 0;
};

} // namespace skald::dht
