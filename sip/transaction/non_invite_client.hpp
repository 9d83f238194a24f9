#pragma once
// The non-INVITE client transaction (RFC 3261 §17.1.2). A pure machine: an input goes in, what to do comes out.
#include "sip/transaction/timers.hpp"

namespace skald::sip {

class non_invite_client {
public:
  enum class state : std::uint8_t { trying, proceeding, completed, terminated };
  enum class input : std::uint8_t {
    start,
    provisional,
    final_response,
    timer_e,
    timer_f,
    timer_k,
    transport_error,
  };
  using effects = client_effects<input>;

  non_invite_client(const timer_values& values, reliability r)
      : values_(values), reliability_(r), interval_(values.t1) {}

  effects on(input i);
  state current() const { return state_; }

private:
  effects trying(input i);
  effects proceeding(input i);
  effects completed(input i);
  effects finish();
  effects fail(client_failure why);
  effects end();

  timer_values values_;
  reliability reliability_;
  duration interval_; // of timer E
  state state_ = state::trying;
};

} // namespace skald::sip
