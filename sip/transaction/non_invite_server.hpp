#pragma once
// The non-INVITE server transaction (RFC 3261 §17.2.2). A pure machine: an input goes in, what to do comes out. It
// keeps no message: "send" means the response just given, or the last one again.
#include "sip/transaction/timers.hpp"

namespace skald::sip {

class non_invite_server {
public:
  enum class state : std::uint8_t { trying, proceeding, completed, terminated };
  enum class input : std::uint8_t {
    request, // the same again
    respond_provisional,
    respond_final,
    timer_j,
    transport_error,
  };
  using effects = server_effects<input>;

  non_invite_server(const timer_values& values, reliability r) : values_(values), reliability_(r) {}

  effects on(input i);
  state current() const { return state_; }

private:
  effects trying(input i);
  effects proceeding(input i);
  effects completed(input i);
  effects answer(input i);

  timer_values values_;
  reliability reliability_;
  state state_ = state::trying;
};

} // namespace skald::sip
