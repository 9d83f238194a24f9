#pragma once
// Where a request with a To tag goes (sip.md §2): by tokens and tags, never by its source address. Shared by requests
// with a transaction and by the ACK of a 2xx, which has none.
#include "roles/proxy/routes.hpp"
#include "roles/proxy/worker.hpp"

#include <expected>
#include <functional>
#include <memory>
#include <optional>

namespace skald::roles {

// What the Routes of a request say. `status` other than 0: it is refused with that.
struct dialog_plan {
  int status = 0;
  std::optional<our_route> receiver; // the last popped token of the side that the request does not come from
  std::optional<our_route> sender;
  bool any_ours = false; // a Route of ours was there
};
// Takes our Routes off `m`, after a Request-URI that is a Record-Route of ours was replaced (RFC 3261 §16.4). Pure.
dialog_plan plan_in_dialog(const name_index& names, const endpoint& local, sip::message& m);

// The UA of that token by another way (sip.md §6): over the newest flow of its binding, whichever edge has it; else at
// its Contact, if no NAT is before it. 430: neither. `m` without our Routes.
using way_found = std::move_only_function<void(std::expected<way, int>)>;
void find_again(worker& w, std::shared_ptr<const name_index> names, sip::message m, our_route lost, bool secure,
                way_found done);

// Finds the way of a request from outside (not a link); `done` may be called before it returns, always on this worker.
// An error is the status to answer.
void route_in_dialog(worker& w, std::shared_ptr<const name_index> names, const sip::arrival& from, sip::message m,
                     dialog_plan plan, bool secure, way_found done);

// The record of that request's dialog, asked for at the owner of From's, then of To's AoR (sip.md §3).
using dialog_found = std::move_only_function<void(std::optional<dialog_record>)>;
void ask_dialogs(worker& w, const name_index& names, const sip::message& m, dialog_found done);

// The ACK of a 2xx: forwarded without state, never answered (sip.md §3).
void forward_ack(worker& w, sip::message ack, const sip::arrival& from);

} // namespace skald::roles
