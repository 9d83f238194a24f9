#pragma once
// What the two halves of the transaction layer share.
#include "base/clock.hpp"
#include "base/scheduler.hpp"
#include "sip/transaction/layer.hpp"

#include <utility>

namespace skald::sip {

struct layer_context {
  const clock& clk;
  scheduler& timers;
  message_sender& sender;
  transaction_user& user;
  timer_values values;
};

// The timers of one transaction (timer_orders). What fires them looks the transaction up by its id, so they may outlive
// nothing: whoever owns them calls stop() before it goes.
struct transaction_timers {
  timer_id repeat = timer_id::none;
  timer_id end = timer_id::none;

  void stop(scheduler& s) {
    s.cancel(std::exchange(repeat, timer_id::none));
    s.cancel(std::exchange(end, timer_id::none));
  }
};

} // namespace skald::sip
