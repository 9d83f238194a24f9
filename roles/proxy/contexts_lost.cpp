// When nodes die in the middle (sip.md §6): hops that are lost, copies of a leg, orphans.
#include "base/metrics.hpp"
#include "roles/proxy/contexts.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/routes.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::roles {

namespace {

metrics::counter hops_lost("skald_proxy_hops_lost_total", "Requests whose next node died before it answered.",
                           R"(hop="owner")");
metrics::counter edges_lost("skald_proxy_hops_lost_total", "Requests whose next node died before it answered.",
                            R"(hop="edge")");
metrics::counter left_behind("skald_proxy_left_behind_total", "Requests under way here when this node had left: others answer them.");
metrics::counter orphans("skald_orphans_total", "Requests whose node upstream died.", R"(fate="begun")");
metrics::counter orphans_ended("skald_orphans_total", "Requests whose node upstream died.", R"(fate="ended")");

constexpr seconds retry_elsewhere{5}; // said by a node that leaves

// RFC 3326. The phone that stops ringing may say that it was called.
constexpr std::string_view orphan_reason = "SIP;cause=408;text=\"Caller lost\"";
constexpr std::string_view lost_reason = "SIP;cause=487;text=\"Went by another node\"";

// The others cut us off, for we said that we leave: they are well, and what they hold for our upstream goes on.
bool has_left(const worker_env& env) {
  return !env.cluster.facts()->view->me().alive();
}

bool is_2xx(const std::optional<sip::message>& m) {
  return m && m->status() / 100 == 2;
}

} // namespace

// ---- downstream

// A hop to an owner is lost: the request goes to the next one. False: nobody is to be asked instead.
bool contexts::hop_lost(const context_ptr& c, std::size_t i) {
  branch& b = c->branches[i];
  if (!c->answered && !b.done && has_left(env_)) {
    left_behind.add();
    stop_timers(b);
    if (c->entered == stage::in && !c->from.from_link()) answer_retry(c, 503, retry_elsewhere); // sip.md §7
    return true; // whoever is upstream on a link hears it from another node
  }
  if (!b.ways[b.at].owner_lost || c->answered || b.done) return false;
  const bool was_sent = b.client != sip::client_id::none || b.given_up;
  if (b.cancelled && !was_sent && !b.retry) return false;
  hops_lost.add();
  stop_timers(b);
  b.done = true; // without a final of its own: what comes instead answers
  b.given_up = was_sent;
  const auto go_on = std::exchange(b.ways[b.at].owner_lost, nullptr);
  c->retrying = true;
  go_on(was_sent);
  return true;
}

// In a dialog, and the flow is gone: there may be a newer one.
bool contexts::goes_otherwise(const context_ptr& c, std::size_t i, int status) {
  branch& b = c->branches[i];
  if (status != 430 || b.cancelled || c->answered || !b.ways[b.at].otherwise) return false;
  stop_timers(b);
  b.done = true; // without a final of its own
  std::exchange(b.ways[b.at].otherwise, nullptr)();
  return true;
}

// The link broke under a request.
void contexts::link_failed(const context_ptr& c, std::size_t i) {
  branch& b = c->branches[i];
  if (b.ways[b.at].kind != way::kind::link) return way_failed(c, i, b.ways[b.at].unreachable);
  if (has_left(env_)) return static_cast<void>(hop_lost(c, i));
  if (b.ways[b.at].owner_lost) {
    b.given_up = true; // it was sent
    if (hop_lost(c, i)) return;
    b.given_up = false;
    return way_failed(c, i, b.ways[b.at].unreachable);
  }
  edges_lost.add();
  // It was sent: the UA may have it, and must not have it twice. A second BYE only finds that there is no dialog.
  if (c->original.method_id() != sip::method::bye) b.ways[b.at].otherwise = nullptr;
  if (!tag_of(c->original, sip::header::to).empty()) return way_failed(c, i, 430); // 500: it ends no dialog
  way_failed(c, i, c->is_invite() ? 408 : 480);
}

// What a lost hop still does is ended, once the one that went instead has shown that it goes on: before, its CANCEL
// might be all that the callee's edge hears.
void contexts::retire_lost_hops(const context_ptr& c) {
  if (!c->retrying) return;
  for (const branch& b : c->branches)
    if (b.given_up && b.client != sip::client_id::none && by_client_.contains(b.client))
      env_.transactions->cancel(b.client, lost_reason);
}

void contexts::on_leg_failure(waiter_id who, sip::client_failure why) {
  const auto it = by_waiter_.find(who);
  if (it == by_waiter_.end()) return;
  const auto [c, i] = it->second;
  branch& b = c->branches[i];
  by_waiter_.erase(it);
  if (b.waiter != who) return maybe_forget(c);
  b.waiter = waiter_id::none;
  if (b.done) return maybe_forget(c);
  switch (why) {
  case sip::client_failure::timed_out:
    return way_failed(c, i, c->is_invite() ? 408 : 480); // RFC 4320: no 408
  case sip::client_failure::flow_gone:
    return way_failed(c, i, b.ways[b.at].unreachable);
  }
}

void contexts::on_leg_replaced(waiter_id who) {
  const auto it = by_waiter_.find(who);
  if (it == by_waiter_.end()) return;
  const auto [c, i] = it->second;
  by_waiter_.erase(it);
  branch& b = c->branches[i];
  if (b.waiter == who) b.waiter = waiter_id::none;
  if (b.done) return maybe_forget(c);
  b.cancelled = true; // no other way is tried: the copy does
  branch_final(c, i, make_response(*c, 487));
}

void contexts::on_leg_ended(waiter_id who) {
  const auto it = by_waiter_.find(who);
  if (it == by_waiter_.end()) return;
  const context_ptr c = it->second.context;
  by_waiter_.erase(it);
  maybe_forget(c);
}

// ---- upstream

void contexts::on_link_gone(const sip::flow& link) {
  std::vector<context_ptr> theirs;
  for (const auto& [id, c] : by_server_)
    if (c->from.from_link() && c->from.flow == link) theirs.push_back(c);
  for (const context_ptr& c : theirs)
    upstream_lost(c);
}

void contexts::on_view(const name_index& names) {
  const dht::view& view = *names.facts()->view;
  const auto dead = [&](const node_id& id) {
    const dht::member* m = view.find(id);
    return m == nullptr || !m->alive();
  };
  std::vector<context_ptr> all;
  for (const auto& [id, c] : by_server_)
    all.push_back(c);
  for (const context_ptr& c : all) {
    if (c->from.from_link() && dead(c->from.peer)) upstream_lost(c);
    for (std::size_t i = 0; i < c->branches.size(); ++i) {
      const branch& b = c->branches[i];
      if (b.done || b.client == sip::client_id::none) continue;
      if (b.ways[b.at].kind == way::kind::link && dead(b.ways[b.at].node)) link_failed(c, i);
    }
  }
}

void contexts::upstream_lost(const context_ptr& c) {
  if (c->orphan_timer != timer_id::none || c->orphan_over) return;
  if (!c->is_invite() || (c->answered && !c->succeeded)) return; // nothing rings, nothing to be ended
  orphans.add();
  c->orphan_timer = env_.timers.at(env_.clock.now() + orphan_time, [this, weak = std::weak_ptr(c)] {
    if (const context_ptr c = weak.lock()) orphan_ends(c);
  });
}

void contexts::orphan_ends(const context_ptr& c) {
  c->orphan_timer = timer_id::none;
  if (c->answered && !c->succeeded) return maybe_forget(c);
  if (c->succeeded && *c->succeeded + orphan_success_time > env_.clock.now()) { // its ACK may be on the way
    c->orphan_timer = env_.timers.at(*c->succeeded + orphan_success_time, [this, weak = std::weak_ptr(c)] {
      if (const context_ptr c = weak.lock()) orphan_ends(c);
    });
    return;
  }
  c->orphan_over = true;
  orphans_ended.add();
  if (!c->answered) cancel_all(c, orphan_reason);
  for (std::size_t i = 0; i < c->branches.size(); ++i)
    if (is_2xx(c->branches[i].final)) refuse_success(c, i);
  maybe_forget(c);
}

// A 2xx that has nobody to go to. Whether its ACK passed knows only the callee's edge, where all ways meet.
void contexts::refuse_success(const context_ptr& c, std::size_t i) {
  const branch& b = c->branches[i];
  if (b.waiter != waiter_id::none) return legs_.orphaned(b.waiter, orphan_reason);
  if (!is_2xx(b.final) || b.ways[b.at].kind != way::kind::link) return;
  for (const std::string_view v : b.final->values(sip::header::record_route)) {
    const auto ours = read_our_route(*c->names, c->from.flow.local, v);
    if (!ours || !ours->token || fit_of(*ours->token, *b.final) != token_fit::receiver) continue;
    const dht::member* edge = c->names->member_of_head(ours->token->node);
    const auto contact = sip::parse_name_addr(b.final->first(sip::header::contact).value_or(std::string_view{}));
    if (edge == nullptr || !edge->alive() || !contact) return;
    sip::message m = sip::message::request("BYE", contact->uri_text);
    m.append(sip::header::max_forwards, std::to_string(max_forwards_default));
    for (const sip::header h : {sip::header::from, sip::header::to, sip::header::call_id})
      m.append(h, b.final->line(h).value_or(std::string_view{}));
    m.append(sip::header::cseq, std::to_string(farewell_cseq_step) + " BYE");
    m.append(sip::header::reason, orphan_reason);
    m.prepend(sip::header::route, make_link_route(*c->names, edge->id, {.stage = stage::out, .orphan = true}));
    env_.flows.open_link(edge->id, [this, alive = alive_, names = c->names, m = std::move(m)](std::optional<sip::flow> f) mutable {
      if (!*alive || !f) return;
      put_via(m, *f, 0, *names);
      env_.transactions->abandon(env_.transactions->send_request(m, *f));
    });
    return;
  }
}

} // namespace skald::roles
