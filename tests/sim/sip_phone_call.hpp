#pragma once
// The one call that a phone is in.
#include "sip/message/message.hpp"
#include "tests/sim/sip_phone.hpp"

namespace skald::sim {

struct sip_phone::call {
  enum class stage : std::uint8_t { calling, given_up, ringing, answered, up }; // the first two: ours; then: theirs to us
  bool outgoing = true;
  stage now = stage::calling;
  std::uint64_t serial = 0;
  std::string id;
  std::string local_tag, remote; // `remote`: To of requests in the dialog, with its tag
  std::string target, routes, first_hop; // the other's Contact; Route lines; where requests in the dialog go first
  mono_time began{};
  int callee = 0;                // outgoing
  job_ptr invite;
  // incoming
  sip::server_id server = sip::server_id::none;
  sip::message request;
  sip::message ok;
  attempt_key key;
  std::string branch;
  duration again{};
  mono_time until{};
};

} // namespace skald::sim
