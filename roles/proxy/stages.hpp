#pragma once
// The four stages (sip.md §1) and what leads from one to the next. Each works on one context and ends by an answer, by
// branches, or by waiting for something that comes back to it. All on the worker's thread.
#include "roles/core/binding.hpp"
#include "roles/proxy/routes.hpp"
#include "roles/proxy/worker.hpp"

#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace skald::roles {

// ---- entrances
void run_in(worker& w, const context_ptr& c);        // from a UA or a foreign server
void run_link(worker& w, const context_ptr& c);      // from another node, by its topmost Route
void run_in_dialog(worker& w, const context_ptr& c); // with a To tag

// Goes to the owner of that AoR for `to`: here by a function call, else over a link. `from`: the stage that sends.
void enter(worker& w, const context_ptr& c, stage from, stage to, const std::string& aor);
// REGISTER: this node turned out not to own the AoR. To its present owner, for owner_wait at most. False: it has come by too
// many nodes, or too long ago.
bool enter_moved(worker& w, const context_ptr& c, const std::string& aor);

// ---- stages at their owner
void run_orig(worker& w, const context_ptr& c, const std::string& aor);
void run_term(worker& w, const context_ptr& c, const std::string& aor);

// ---- out
// Over the flow that a token describes: here, or at the edge that holds it. `r` was popped from `m`. An error is the
// status to answer.
std::expected<way, int> way_by_token(worker& w, const name_index& names, sip::message m, const our_route& r,
                                     bool secure, leg_use use = leg_use::begin);
// To one binding: its contact as Request-URI, its Path as Routes (RFC 3327 §5.3).
std::expected<way, int> way_to_binding(worker& w, const context& c, const binding& b, leg_use use = leg_use::begin);
// To a foreign server by the next Route or the Request-URI (RFC 3261 §16.6 steps 6 and 7).
way way_outside(const name_index& names, sip::message m);
// From orig, or in: a foreign callee leaves from the caller's edge.
void run_out_foreign(worker& w, const context_ptr& c, stage from);

// ---- after a restart
// The flow that a binding was registered over, by the token in its Path.
std::optional<sip::flow> flow_of(const binding& b, const key_ring& keys);
// A binding that names this node, over UDP: whose flow it is, and that it wants pings. False: not adopted.
bool adopt_binding(worker& w, const binding& b);

// ---- shared by in and term
// Takes one from Max-Forwards; false: it was spent, and 483 is answered.
bool take_hop(worker& w, const context_ptr& c);
// RFC 5393 §4.2 over what routing depends on.
std::uint32_t loop_hash_of(const sip::message& m);
// Whether a Via of ours (any node's) has that hash: the request has been here as it is now.
bool has_looped(const name_index& names, const sip::message& m, std::uint32_t hash);

inline constexpr seconds retry_after{5}; // with 500 and 503

} // namespace skald::roles
