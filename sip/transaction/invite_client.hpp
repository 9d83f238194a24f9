#pragma once
// The INVITE client transaction (RFC 3261 §17.1.1 as RFC 6026 §7.2 mends it). A pure machine: an input goes in, what
// to do comes out. It holds no message and reads no clock.
#include "sip/transaction/timers.hpp"

namespace skald::sip {

class invite_client {
public:
  enum class state : std::uint8_t { calling, proceeding, completed, accepted, terminated };
  enum class input : std::uint8_t {
    start,
    provisional, // 1xx
    success,     // 2xx
    rejection,   // 3xx to 6xx
    cancelled,   // a CANCEL was sent for it
    abandoned,   // nobody waits for its answer any more
    timer_a,
    timer_b,
    timer_d,
    timer_m,
    timer_cancel, // §9.1: no final answer 64*T1 after the CANCEL
    transport_error,
  };
  using effects = client_effects<input>;

  invite_client(const timer_values& values, reliability r) : values_(values), reliability_(r), interval_(values.t1) {}

  effects on(input i);
  state current() const { return state_; }

private:
  effects calling(input i);
  effects proceeding(input i);
  effects completed(input i);
  effects accepted(input i);
  effects final_response(input i);
  effects fail(client_failure why);
  effects end();

  timer_values values_;
  reliability reliability_;
  duration interval_; // of timer A
  state state_ = state::calling;
};

// An INVITE that rings while nobody waits for it is forgotten after this (its user could not cancel it).
inline constexpr seconds abandoned_invite_life{180};

} // namespace skald::sip
