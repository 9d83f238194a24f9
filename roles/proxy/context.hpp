#pragma once
// One request on its way: its server transaction, what the stages have learned of it, and its branches (RFC 3261
// §16.2's response context). Consecutive stages on this node share one context. One thread; held by shared_ptr so that
// an answer that comes late finds either the context or nothing.
#include "base/clock.hpp"
#include "base/scheduler.hpp"
#include "roles/core/names.hpp"
#include "roles/proxy/legs.hpp"
#include "sip/flow.hpp"
#include "sip/message/message.hpp"
#include "sip/transaction/layer.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skald::roles {

enum class stage : std::uint8_t { in, orig, term, out };
std::string_view to_string(stage s);
std::optional<stage> stage_from(std::string_view text);

// One way to send a request on: over a flow to a UA, over a link to a node, or to a foreign server by RFC 3263.
struct way {
  enum class kind : std::uint8_t { flow, link, server };
  way::kind kind = kind::flow;
  sip::message request;     // without our Via
  sip::flow flow{};         // kind::flow
  node_id node{};           // kind::link
  std::string link_route{}; // kind::link: the topmost Route value
  int unreachable = 430;    // the answer if nobody is there: 500 for a stage's owner, 480 for a foreign server
  std::string next_hop{};   // kind::server: the URI that RFC 3263 resolves
  // kind::link to an owner: how to go on at the next one when this one is lost (sip.md §6). `was_sent`: something may
  // have come of the request.
  std::function<void(bool was_sent)> owner_lost{};
  bool asks_100 = false;        // kind::link to an owner: lost too if no 100 comes in time
  // In a dialog: how to go on when the flow turns out to be gone (sip.md §6); nothing reached the UA then.
  std::function<void()> otherwise{};
  std::uint64_t binding_id = 0; // kind::flow: whose; 0: not a binding's
  std::uint32_t round = 0;      // which flow of the instance this is
  leg_use use = leg_use::begin; // kind::flow
};

// What is under way to one place, and what may follow it: another flow of the same instance, another target of the same
// server. Over a link it has a client transaction; towards a UA or a foreign server it waits for a leg (sip.md §6).
struct branch {
  stage from = stage::out;          // whose budget it has
  std::vector<way> ways;            // tried in order
  std::size_t at = 0;               // the way under way
  std::vector<sip::target> targets; // kind::server: what resolution gave
  std::size_t target_at = 0;
  bool opened = false; // the flow to the target is there, or is known not to be
  sip::client_id client = sip::client_id::none;
  waiter_id waiter = waiter_id::none;
  bool begins_leg = false; // the leg's responses carry our own Vias
  std::uint32_t turn = 0; // counts sends; an answer to an older turn is stale
  bool ringing = false;   // a 1xx came
  bool cancelled = false;
  bool retry = false;       // goes instead of a hop that was lost: a CANCEL waits until it is sent
  bool given_up = false;    // that hop: only a 2xx of it counts any more
  bool done = false; // `final` counts; a late 2xx is still passed on
  std::optional<sip::message> final{};
  timer_id budget = timer_id::none;  // non-INVITE
  timer_id timer_c = timer_id::none; // INVITE
  timer_id hundred = timer_id::none; // an owner's 100

  bool sent() const { return client != sip::client_id::none || waiter != waiter_id::none; }
};

struct context {
  sip::server_id server = sip::server_id::none;
  sip::message original; // as it came, Via completed: responses are made from it
  sip::message request;  // as it goes on
  sip::arrival from;
  std::shared_ptr<const name_index> names;
  std::string local_tag;       // of responses that we make ourselves
  std::uint32_t loop_hash = 0; // RFC 5393 §4.2
  stage entered = stage::in;   // the first stage here
  std::uint32_t hop = 0;       // nodes that this stage came by, this one included
  std::string attempt;         // attempt.hpp; empty: not one, or not known yet
  std::uint64_t origin = 0;    // the `in` transaction, here or where it is
  std::uint32_t turn = 0;      // of that origin's copies: the higher came later
  std::uint32_t round = 0;     // `out` by link: which flow of the instance
  bool again = false;          // another node has had this very request
  std::vector<node_id> silent; // and these gave no answer: the next stage does not begin with them
  std::string edge_name;       // the caller's edge, as orig heard it
  std::string caller_aor;      // subscriber's caller; empty: foreign
  std::uint64_t caller_binding = 0;
  std::string caller_token;         // in the Record-Route that we added for the caller's side
  bool secure = false;              // the Request-URI was sips: when it came in
  std::vector<std::string> visited; // term's (AoR, Request-URI) pairs
  std::vector<branch> branches;
  timer_id ring_timer = timer_id::none; // the fork's, at term
  bool answered = false;                // a final response went upstream
  bool cancelled = false;               // by the caller
  std::optional<mono_time> moving{};    // REGISTER at an owner that is none any more: until when the next is looked for
  bool retrying = false;                // the branches to come go instead of a lost hop
  std::optional<mono_time> succeeded{}; // when the first 2xx went upstream
  timer_id orphan_timer = timer_id::none; // the node upstream is gone
  bool orphan_over = false;               // and nobody came instead
  bool server_ended = false;
  std::string cancel_reason;
  bool undelivered = false; // in a dialog: its UA is not to be reached now
  // REGISTER only: what the edge learns once the 200 passes.
  bool learns_flow = false;

  bool is_invite() const { return original.method_id() == sip::method::invite; }
  const cluster_facts& facts() const { return *names->facts(); }
};
using context_ptr = std::shared_ptr<context>;

// ---- Named limits.
inline constexpr std::size_t contexts_max = 200'000;      // a worker
inline constexpr std::size_t branches_max = 60;           // RFC 5393 §5: Max-Breadth's default
inline constexpr std::uint32_t max_forwards_default = 70; // RFC 3261 §16.6 step 3
inline constexpr std::size_t targets_max = 8;             // of one foreign server
inline constexpr std::uint32_t stage_hops_max = 2;        // a third hop for one stage is refused (sip.md §1)
inline constexpr std::size_t datagram_bytes_max = 1300;   // RFC 3261 §18.1.1
inline constexpr std::size_t via_room = 160;              // what our Via adds
inline constexpr seconds owner_wait{2};                   // for an owner that can be reached (sip.md §4, §6)
inline constexpr milliseconds owner_retry{100};
inline constexpr seconds open_time{5};                    // a connection to a foreign server

// sip.md §6.
inline constexpr milliseconds hundred_time{1500};       // without a 100 an owner counts as dead
inline constexpr std::uint32_t owner_retries_max = 2;   // other owners that a request is sent to
inline constexpr seconds orphan_time{6};                // an orphan goes on for so long
inline constexpr seconds orphan_success_time{2};        // and its 2xx may wait so long for an ACK

// sip.md §7.
inline constexpr seconds timer_c_time{181};
inline constexpr duration budget_of(stage s) {
  switch (s) {
  case stage::in:
    return seconds(26);
  case stage::orig:
    return seconds(24);
  case stage::term:
    return seconds(22);
  case stage::out:
    return seconds(20);
  }
  return seconds(20);
}

} // namespace skald::roles
