#pragma once
// The INVITE server transaction (RFC 3261 §17.2.1 as RFC 6026 §7.1 mends it). A pure machine: an input goes in, what
// to do comes out. It keeps no message: "send" means the response just given, or the last one again. The 100 of §17.2.1
// is the transaction user's, who answers each INVITE with one at once.
#include "sip/transaction/timers.hpp"

namespace skald::sip {

class invite_server {
public:
  enum class state : std::uint8_t { proceeding, completed, confirmed, accepted, terminated };
  enum class input : std::uint8_t {
    request, // the INVITE again
    ack,
    respond_provisional, // the transaction user answers
    respond_success,
    respond_rejection,
    timer_g,
    timer_h,
    timer_i,
    timer_l,
    transport_error,
  };
  using effects = server_effects<input>;

  invite_server(const timer_values& values, reliability r) : values_(values), reliability_(r), interval_(values.t1) {}

  effects on(input i);
  state current() const { return state_; }

private:
  effects proceeding(input i);
  effects completed(input i);
  effects confirmed(input i);
  effects accepted(input i);

  timer_values values_;
  reliability reliability_;
  duration interval_;     // of timer G
  bool answered_ = false; // there is a response that can be repeated
  state state_ = state::proceeding;
};

} // namespace skald::sip
