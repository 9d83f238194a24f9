#pragma once
// The machine's clocks: the production side of base/clock.hpp.
#include "base/clock.hpp"


namespace skald::node {

// CLOCK_BOOTTIME (goes on while the machine sleeps) and CLOCK_REALTIME. Any thread.
class system_clock final : public clock {
public:
  mono_time now() const override;
  unix_ms wall() const override;
};

} // namespace skald::node
