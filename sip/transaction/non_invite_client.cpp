#include "sip/transaction/non_invite_client.hpp"

#include <algorithm>

namespace skald::sip {

non_invite_client::effects non_invite_client::on(input i) {
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

// RFC 3261 §17.1.2.2
non_invite_client::effects non_invite_client::trying(input i) {
  effects out;
  switch (i) {
  case input::start:
    out.send_request = true;
    out.timers.end = {input::timer_f, values_.give_up()};
    if (reliability_ == reliability::unreliable) out.timers.repeat = {input::timer_e, interval_};
    return out;
  case input::timer_e:
    interval_ = std::min(2 * interval_, values_.t2);
    out.send_request = true;
    out.timers.repeat = {input::timer_e, interval_};
    return out;
  case input::provisional:
    state_ = state::proceeding; // timers E and F run on
    out.deliver = true;
    return out;
  case input::final_response:
    return finish();
  case input::timer_f:
    return fail(client_failure::timed_out);
  case input::transport_error:
    return fail(client_failure::flow_gone);
  case input::timer_k:
    return out;
  }
  return out;
}

non_invite_client::effects non_invite_client::proceeding(input i) {
  effects out;
  switch (i) {
  case input::timer_e:
    out.send_request = true;
    out.timers.repeat = {input::timer_e, values_.t2};
    return out;
  case input::provisional:
    out.deliver = true;
    return out;
  case input::final_response:
    return finish();
  case input::timer_f:
    return fail(client_failure::timed_out);
  case input::transport_error:
    return fail(client_failure::flow_gone);
  case input::start:
  case input::timer_k:
    return out;
  }
  return out;
}

non_invite_client::effects non_invite_client::completed(input i) {
  switch (i) {
  case input::timer_k:
    return end();
  case input::start:
  case input::provisional:
  case input::final_response: // a retransmission: absorbed
  case input::timer_e:
  case input::timer_f:
  case input::transport_error:
    return {};
  }
  return {};
}

non_invite_client::effects non_invite_client::finish() {
  state_ = state::completed;
  effects out;
  out.deliver = true;
  out.timers.stop_repeat = true;
  out.timers.end = {input::timer_k, reliability_ == reliability::reliable ? duration::zero() : values_.t4};
  return out;
}

non_invite_client::effects non_invite_client::fail(client_failure why) {
  effects out = end();
  out.failure = why;
  return out;
}

non_invite_client::effects non_invite_client::end() {
  state_ = state::terminated;
  effects out;
  out.ended = true;
  return out;
}

} // namespace skald::sip
