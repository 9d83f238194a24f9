#pragma once
// What the four machines share: the values of RFC 3261's timers, and the effects a machine asks its layer for.
#include "base/clock.hpp"
#include "sip/flow.hpp"

#include <cstdint>
#include <optional>

namespace skald::sip {

// RFC 3261 §17.1.1.1, RFC 6026: a value, so that tests and links may have others.
struct timer_values {
  duration t1 = milliseconds(500);
  duration t2 = seconds(4);
  duration t4 = seconds(5);
  duration give_up() const { return 64 * t1; } // timers B, D (UDP), F, H, J (UDP), L, M
};

// Over a reliable transport (streams, links) nothing is sent twice: A, E and G never run, D, I, J and K are zero.
enum class reliability : std::uint8_t { unreliable, reliable };
inline reliability reliability_of(transport t) {
  return is_stream(t) ? reliability::reliable : reliability::unreliable;
}

enum class client_failure : std::uint8_t {
  timed_out, // timer B or F
  flow_gone, // the transport could not send, or broke while we waited (RFC 3261 §17.1.4)
};

// A timer is the input that it becomes when it fires. Zero is a duration like any other: it fires on the next turn.
template <class Input> struct alarm {
  Input fires;
  duration after;
};

// Never more than two timers run in one machine: the one that repeats a message (A, E, G), and the one that ends the
// state (all others). Setting one replaces it.
template <class Input> struct timer_orders {
  std::optional<alarm<Input>> repeat{};
  std::optional<alarm<Input>> end{};
  bool stop_repeat = false;
  bool stop_end = false;
};

template <class Input> struct client_effects {
  bool send_request = false;
  bool send_ack = false;
  bool deliver = false; // the response that was the input goes to the transaction user
  std::optional<client_failure> failure{};
  bool ended = false;
  timer_orders<Input> timers{};
};

enum class acknowledgement : std::uint8_t { not_needed, missing };

template <class Input> struct server_effects {
  bool send_response = false; // the one given, or the last one again
  bool deliver_ack = false;   // this ACK belongs to a 2xx: it is the transaction user's
  bool ended = false;
  acknowledgement ack = acknowledgement::not_needed;
  timer_orders<Input> timers{};
};

} // namespace skald::sip
