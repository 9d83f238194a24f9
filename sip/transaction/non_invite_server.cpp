#include "sip/transaction/non_invite_server.hpp"

namespace skald::sip {

non_invite_server::effects non_invite_server::on(input i) {
  switch (state_) {
  case state::trying:
    return trying(i);
  case state::proceeding:
    return proceeding(i);
  case state::completed:
    return completed(i);
  case state::terminated:
    return {};
  }
  return {};
}

// RFC 3261 §17.2.2
non_invite_server::effects non_invite_server::trying(input i) {
  switch (i) {
  case input::respond_provisional:
  case input::respond_final:
    return answer(i);
  case input::request: // absorbed: there is nothing to say yet
  case input::timer_j:
  case input::transport_error:
    return {};
  }
  return {};
}

non_invite_server::effects non_invite_server::proceeding(input i) {
  effects out;
  switch (i) {
  case input::request:
    out.send_response = true;
    return out;
  case input::respond_provisional:
  case input::respond_final:
    return answer(i);
  case input::timer_j:
  case input::transport_error:
    return out;
  }
  return out;
}

non_invite_server::effects non_invite_server::completed(input i) {
  effects out;
  switch (i) {
  case input::request:
    out.send_response = true;
    return out;
  case input::timer_j:
    state_ = state::terminated;
    out.ended = true;
    return out;
  case input::respond_provisional:
  case input::respond_final: // any other final response is discarded
  case input::transport_error:
    return out; // timer J ends it
  }
  return out;
}

non_invite_server::effects non_invite_server::answer(input i) {
  effects out;
  out.send_response = true;
  if (i == input::respond_provisional) {
    state_ = state::proceeding;
    return out;
  }
  state_ = state::completed;
  out.timers.end = {input::timer_j, reliability_ == reliability::reliable ? duration::zero() : values_.give_up()};
  return out;
}

} // namespace skald::sip
