#include "sip/transaction/invite_server.hpp"

#include <algorithm>

namespace skald::sip {

invite_server::effects invite_server::on(input i) {
  switch (state_) {
  case state::proceeding:
    return proceeding(i);
  case state::completed:
    return completed(i);
  case state::confirmed:
    return confirmed(i);
  case state::accepted:
    return accepted(i);
  case state::terminated:
    return {};
  }
  return {};
}

// RFC 3261 §17.2.1
invite_server::effects invite_server::proceeding(input i) {
  effects out;
  switch (i) {
  case input::request:
    out.send_response = answered_;
    return out;
  case input::respond_provisional:
    answered_ = true;
    out.send_response = true;
    return out;
  case input::respond_success: // RFC 6026 §7.1
    state_ = state::accepted;
    out.send_response = true;
    out.timers.end = {input::timer_l, values_.give_up()};
    return out;
  case input::respond_rejection:
    state_ = state::completed;
    out.send_response = true;
    out.timers.end = {input::timer_h, values_.give_up()};
    if (reliability_ == reliability::unreliable) out.timers.repeat = {input::timer_g, interval_};
    return out;
  case input::ack:             // there is nothing yet that it could acknowledge
  case input::transport_error: // RFC 6026 §7.1: stays, to absorb what is sent again
  case input::timer_g:
  case input::timer_h:
  case input::timer_i:
  case input::timer_l:
    return out;
  }
  return out;
}

invite_server::effects invite_server::completed(input i) {
  effects out;
  switch (i) {
  case input::request:
    out.send_response = true;
    return out;
  case input::timer_g:
    interval_ = std::min(2 * interval_, values_.t2);
    out.send_response = true;
    out.timers.repeat = {input::timer_g, interval_};
    return out;
  case input::ack:
    state_ = state::confirmed;
    out.timers.stop_repeat = true;
    out.timers.end = {input::timer_i, reliability_ == reliability::reliable ? duration::zero() : values_.t4};
    return out;
  case input::timer_h:
    state_ = state::terminated;
    out.ended = true;
    out.ack = acknowledgement::missing;
    return out;
  case input::respond_success:
    out.send_response = true;
    return out; // RFC 3261 §16.7 step 5: a late 2xx goes on
  case input::transport_error:
  case input::respond_provisional:
  case input::respond_rejection:
  case input::timer_i:
  case input::timer_l:
    return out;
  }
  return out;
}

invite_server::effects invite_server::confirmed(input i) {
  effects out;
  switch (i) {
  case input::timer_i:
    state_ = state::terminated;
    out.ended = true;
    return out;
  case input::respond_success:
    out.send_response = true;
    return out;        // RFC 3261 §16.7 step 5
  case input::request: // cannot be: who acknowledged has seen the answer
  case input::ack:     // absorbed
  case input::transport_error:
  case input::respond_provisional:
  case input::respond_rejection:
  case input::timer_g:
  case input::timer_h:
  case input::timer_l:
    return out;
  }
  return out;
}

// RFC 6026 §7.1: the INVITE again is absorbed without an answer, 2xx are repeated end to end by the callee.
invite_server::effects invite_server::accepted(input i) {
  effects out;
  switch (i) {
  case input::respond_success:
    out.send_response = true;
    return out;
  case input::ack:
    out.deliver_ack = true;
    return out;
  case input::timer_l:
    state_ = state::terminated;
    out.ended = true;
    return out;
  case input::request:
  case input::respond_provisional:
  case input::respond_rejection:
  case input::transport_error:
  case input::timer_g:
  case input::timer_h:
  case input::timer_i:
    return out;
  }
  return out;
}

} // namespace skald::sip
