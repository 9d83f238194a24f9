#include "sip/transaction/invite_client.hpp"

namespace skald::sip {

invite_client::effects invite_client::on(input i) {
  switch (state_) {
  case state::calling:
    return calling(i);
  case state::proceeding:
    return proceeding(i);
  case state::completed:
    return completed(i);
  case state::accepted:
    return accepted(i);
  case state::terminated:
    return {};
  }
  return {};
}

// RFC 3261 §17.1.1.2
invite_client::effects invite_client::calling(input i) {
  effects out;
  switch (i) {
  case input::start:
    out.send_request = true;
    out.timers.end = {input::timer_b, values_.give_up()};
    if (reliability_ == reliability::unreliable) out.timers.repeat = {input::timer_a, interval_};
    return out;
  case input::timer_a:
    interval_ *= 2; // no bound: T2 is for non-INVITE only
    out.send_request = true;
    out.timers.repeat = {input::timer_a, interval_};
    return out;
  case input::provisional:
    state_ = state::proceeding;
    out.deliver = true;
    out.timers.stop_repeat = out.timers.stop_end = true;
    return out;
  case input::success:
  case input::rejection:
    return final_response(i);
  case input::timer_b:
    return fail(client_failure::timed_out);
  case input::transport_error:
    return fail(client_failure::flow_gone);
  case input::cancelled: // held back until a 1xx came (§9.1), so it cannot be
  case input::abandoned: // timer B ends it
  case input::timer_d:
  case input::timer_m:
  case input::timer_cancel:
    return out;
  }
  return out;
}

invite_client::effects invite_client::proceeding(input i) {
  effects out;
  switch (i) {
  case input::provisional:
    out.deliver = true;
    return out;
  case input::success:
  case input::rejection:
    return final_response(i);
  case input::cancelled: // §9.1
    out.timers.end = {input::timer_cancel, values_.give_up()};
    return out;
  case input::abandoned: // no timer of the RFC's runs here; timer C was the user's, who left
    out.timers.end = {input::timer_cancel, abandoned_invite_life};
    return out;
  case input::timer_cancel:
    return fail(client_failure::timed_out);
  case input::transport_error:
    return fail(client_failure::flow_gone);
  case input::start:
  case input::timer_a:
  case input::timer_b:
  case input::timer_d:
  case input::timer_m:
    return out;
  }
  return out;
}

invite_client::effects invite_client::completed(input i) {
  effects out;
  switch (i) {
  case input::rejection:
    out.send_ack = true;
    return out; // §17.1.1.2: not passed up again
  // A proxy below us that gave up on a branch may still let its late 2xx through (§16.7 step 5).
  case input::success:
    out.deliver = true;
    return out;
  case input::timer_d:
    return end();
  case input::transport_error:
    return end(); // the ACK could not leave; the user has its answer
  case input::start:
  case input::provisional:
  case input::cancelled:
  case input::abandoned:
  case input::timer_a:
  case input::timer_b:
  case input::timer_m:
  case input::timer_cancel:
    return out;
  }
  return out;
}

// RFC 6026 §7.2: further 2xx, retransmitted or from another fork, go up; the user acknowledges them.
invite_client::effects invite_client::accepted(input i) {
  effects out;
  switch (i) {
  case input::success:
    out.deliver = true;
    return out;
  case input::timer_m:
    return end();
  case input::start:
  case input::provisional:
  case input::rejection:
  case input::cancelled:
  case input::abandoned:
  case input::timer_a:
  case input::timer_b:
  case input::timer_d:
  case input::timer_cancel:
  case input::transport_error:
    return out;
  }
  return out;
}

invite_client::effects invite_client::final_response(input i) {
  effects out;
  out.deliver = true;
  out.timers.stop_repeat = true;
  if (i == input::success) {
    state_ = state::accepted;
    out.timers.end = {input::timer_m, values_.give_up()};
    return out;
  }
  state_ = state::completed;
  out.send_ack = true; // §17.1.1.3
  // Timer D: at least 32 s, zero on reliable transports
  out.timers.end = {input::timer_d, reliability_ == reliability::reliable ? duration::zero() : values_.give_up()};
  return out;
}

invite_client::effects invite_client::fail(client_failure why) {
  effects out = end();
  out.failure = why;
  return out;
}

invite_client::effects invite_client::end() {
  state_ = state::terminated;
  effects out;
  out.ended = true;
  return out;
}

} // namespace skald::sip
