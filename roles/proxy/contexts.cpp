#include "roles/proxy/contexts.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "roles/proxy/best_response.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/via.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter contexts_refused("skald_proxy_contexts_refused_total",
                                  "Requests refused because too many are under way.");
metrics::counter late_2xx("skald_proxy_late_2xx_total", "2xx passed on after another final answer.");

constexpr std::string_view stream_gone = "Responses whose connection was gone.";
metrics::counter responses_moved("skald_proxy_responses_stream_gone_total", stream_gone, R"(fate="new_connection")");
metrics::counter responses_lost("skald_proxy_responses_stream_gone_total", stream_gone, R"(fate="lost")");

constexpr seconds retry_after_default{5};
constexpr std::string_view elsewhere = "SIP;cause=200;text=\"Call completed elsewhere\""; // sip.md §7

// The reason for the losers of a 6xx (RFC 3326).
std::string reason_of(int status) {
  return "SIP;cause=" + std::to_string(status);
}

} // namespace

contexts::contexts(worker_env& env, server_resolver& resolver, passage_observer& observer, leg_index& index)
    : env_(env), resolver_(resolver), observer_(observer), vias_(env), legs_(env, vias_, index, *this),
      alive_(std::make_shared<bool>(true)) {}

contexts::~contexts() {
  *alive_ = false;
}

context_ptr contexts::create(sip::server_id id, sip::message request, const sip::arrival& from,
                             std::shared_ptr<const name_index> names) {
  if (by_server_.size() >= contexts_max) {
    contexts_refused.add();
    return nullptr;
  }
  auto c = std::make_shared<context>();
  c->server = id;
  c->original = request;
  c->request = std::move(request);
  c->from = from;
  c->names = std::move(names);
  c->local_tag = unique_tag();
  c->origin = env_.random.next();
  by_server_[id] = c;
  return c;
}

context_ptr contexts::find(sip::server_id id) const {
  const auto it = by_server_.find(id);
  return it == by_server_.end() ? nullptr : it->second;
}

void contexts::unanswered(std::set<std::string>& call_ids) const {
  for (const auto& [id, c] : by_server_)
    if (c->is_invite() && !c->answered && !c->from.from_link())
      call_ids.emplace(c->original.line(sip::header::call_id).value_or(std::string_view{}));
  legs_.unanswered(call_ids);
}

std::string contexts::unique_tag() {
  return to_hex(env_.random.bytes(8));
}

// ---- upstream

sip::message contexts::make_response(const context& c, int status) const {
  return sip::make_reply(c.original, status, {}, c.local_tag);
}

void contexts::provisional(context& c, int status) {
  if (!c.answered) env_.transactions->respond(c.server, make_response(c, status));
}

void contexts::answer(const context_ptr& c, int status) {
  answer(c, make_response(*c, status));
}

void contexts::answer_retry(const context_ptr& c, int status, seconds after) {
  sip::message r = make_response(*c, status);
  r.set(sip::header::retry_after, std::to_string(after.count()));
  answer(c, std::move(r));
}

void contexts::answer(const context_ptr& c, sip::message response) {
  if (c->answered) return;
  env_.timers.cancel(std::exchange(c->ring_timer, timer_id::none));
  // RFC 3261 §16.7 step 6: others must not take us for it. Who has left says it of itself.
  if (response.status() == 503 && !c->branches.empty() && env_.cluster.facts()->view->me().alive()) {
    sip::message as_500 = make_response(*c, 500);
    as_500.set(sip::header::retry_after, std::to_string(retry_after_default.count()));
    response = std::move(as_500);
  }
  if (response.status() == 430 && c->entered != stage::out) { // an answer of `out` to `term`, or to the edge before it
    const bool in_dialog =
        sip::parse_name_addr(c->original.line(sip::header::to).value_or("")).value_or(sip::name_addr{}).tag() != "";
    response = make_response(*c, in_dialog ? 500 : 480);
    c->undelivered = in_dialog;
    if (in_dialog) response.set(sip::header::retry_after, std::to_string(retry_after_default.count()));
  }
  pass(c, std::move(response));
  maybe_forget(c);
}

void contexts::pass(const context_ptr& c, sip::message response) {
  const int status = response.status();
  if (status < 200 && c->server_ended) return;
  observer_.on_passing(*c, response);
  const bool second = c->answered;
  if (status >= 200) c->answered = true;
  if (status / 100 == 2 && !c->succeeded) c->succeeded = env_.clock.now();
  retire_lost_hops(c);
  const bool by_transaction = !c->server_ended && (!second || status / 100 == 2);
  if (by_transaction)
    env_.transactions->respond(c->server, response);
  else
    env_.transactions->send_stateless(response, c->from.flow);
  const sip::flow& f = c->from.flow;
  if (sip::is_stream(f.transport) && !c->from.from_link() && !env_.flows.alive(f)) send_by_new_stream(*c, response);
}

// RFC 3261 §18.2.2: the connection that the request came by is gone; its sender may listen where its Via says.
void contexts::send_by_new_stream(const context& c, const sip::message& response) {
  const auto to = sip::destination_of_new_stream(response);
  const auto address = to ? to->address() : std::unexpected(errc::missing);
  if (!address) return responses_lost.add();
  const auto via = sip::parse_via(*response.first(sip::header::via));
  const bool named = !ip_address::parse(via->host).has_value();
  env_.flows.open({.transport = c.from.flow.transport, .remote = *address, .tls_name = named ? std::string(via->host) : std::string{}},
                  [this, alive = alive_, response](std::optional<sip::flow> f) {
                    if (!*alive) return;
                    (f ? responses_moved : responses_lost).add();
                    if (f) env_.transactions->send_stateless(response, *f);
                  });
}

// ---- downstream

void contexts::forward(const context_ptr& c, std::vector<branch> branches) {
  SKALD_ASSERT(!branches.empty());
  if (c->answered) return;
  const std::size_t first = c->branches.size();
  for (branch& b : branches) {
    SKALD_ASSERT(!b.ways.empty());
    c->branches.push_back(std::move(b));
  }
  const std::size_t end = c->branches.size(); // one that is lost at once appends what goes instead
  for (std::size_t i = first; i < end; ++i)
    c->branches[i].retry = c->retrying || c->again;
  for (std::size_t i = first; i < end; ++i) {
    if (!c->branches[i].done) start_way(c, i); // one that answered at once may have cancelled the rest
  }
  if (!c->cancelled || c->answered) return;
  for (std::size_t i = first; i < end; ++i) // the CANCEL came while the hop before these was lost
    cancel_branch(c, i, std::string(c->cancel_reason));
}

void contexts::forward(const context_ptr& c, stage from, way w) {
  std::vector<branch> one(1);
  one[0].from = from;
  one[0].ways.push_back(std::move(w));
  forward(c, std::move(one));
}

void contexts::limit_ringing(const context_ptr& c, duration t) {
  env_.timers.cancel(c->ring_timer);
  c->ring_timer = env_.timers.at(env_.clock.now() + t, [this, weak = std::weak_ptr(c)] {
    const context_ptr c = weak.lock();
    if (!c) return;
    c->ring_timer = timer_id::none;
    for (std::size_t i = 0; i < c->branches.size(); ++i)
      if (!c->branches[i].done) give_up(c, i, 408);
  });
}

void contexts::cancel_all(const context_ptr& c, std::string_view reason) {
  c->cancelled = true;
  c->cancel_reason = std::string(reason);
  for (std::size_t i = 0; i < c->branches.size(); ++i)
    cancel_branch(c, i, reason);
  // Another node may have begun a leg for this very request: its way is gone on, for nobody else can cancel it.
  if (c->branches.empty() && !c->again) answer(c, 487);
}

void contexts::cancel_others(const context_ptr& c, std::size_t except, std::string_view reason) {
  for (std::size_t i = 0; i < c->branches.size(); ++i)
    if (i != except) cancel_branch(c, i, reason);
}

void contexts::cancel_branch(const context_ptr& c, std::size_t i, std::string_view reason) {
  branch& b = c->branches[i];
  if (b.done || b.cancelled) return;
  b.cancelled = true;
  if (!b.sent()) { // not yet: a name being resolved, a link being opened
    if (b.retry && c->is_invite() && b.ways[b.at].kind == way::kind::link) return; // transmit_link() will
    ++b.turn;
    branch_final(c, i, make_response(*c, 487));
    return;
  }
  if (!c->is_invite()) { // there is nothing to cancel (RFC 4321): it is not waited for any more
    give_up(c, i, 487);
    return;
  }
  if (b.waiter != waiter_id::none)
    legs_.leave(b.waiter, reason); // told by the leg: it may be cancelled, or go on for others
  else
    env_.transactions->cancel(b.client, reason);
  if (c->branches[i].done) return;
  // RFC 3261 §9.1: a UAS that knows no CANCEL never ends the INVITE; after 64·T1 it counts as ended.
  branch& now = c->branches[i];
  env_.timers.cancel(std::exchange(now.timer_c, timer_id::none));
  now.timer_c = env_.timers.at(env_.clock.now() + seconds(32), [this, weak = std::weak_ptr(c), i, turn = now.turn] {
    const context_ptr c = weak.lock();
    if (!c || c->branches[i].turn != turn || c->branches[i].done) return;
    c->branches[i].timer_c = timer_id::none;
    branch_final(c, i, make_response(*c, 487));
  });
}

// ---- what the transaction layer says

bool contexts::on_response(sip::client_id id, sip::message response, const sip::arrival& from) {
  if (legs_.on_response(id, response, from)) return true;
  const auto it = by_client_.find(id);
  if (it == by_client_.end()) return false;
  const auto [c, i] = it->second;
  branch& b = c->branches[i];
  if (b.client == id) env_.timers.cancel(std::exchange(b.hundred, timer_id::none));
  response.remove_first_value(sip::header::via); // RFC 3261 §16.7 step 3
  if (response.has(sip::header::via)) branch_response(c, i, std::move(response), from);
  return true;
}

void contexts::on_leg_response(waiter_id who, sip::message response, const sip::arrival& from) {
  const auto it = by_waiter_.find(who);
  if (it == by_waiter_.end()) return;
  const auto [c, i] = it->second;
  // A copy's answer goes back the way that the copy came (RFC 3261 §16.7 step 9).
  response.set_values(sip::header::via, c->original.values(sip::header::via));
  branch_response(c, i, std::move(response), from);
}

void contexts::branch_response(const context_ptr& c, std::size_t i, sip::message response, const sip::arrival& from) {
  branch& b = c->branches[i];
  const int status = response.status();
  if (status == 100) {
    b.ringing = true;
    return;
  }
  observer_.on_arrived(*c, b, response, from);
  if (status < 200) {
    b.ringing = true;
    if (!b.done && !b.cancelled && c->is_invite()) arm_timer_c(c, i); // §16.7 step 2
    if (!c->answered && !b.done) pass(c, std::move(response));
    return;
  }
  if (b.done) {
    if (response.status() / 100 == 2 && c->is_invite()) { // §16.7 step 5: every 2xx to an INVITE goes up
      if (c->answered) late_2xx.add();
      const bool ends_retry = !c->answered;
      b.final = response;
      pass(c, std::move(response));
      if (ends_retry) cancel_others(c, i, elsewhere); // of a hop that was given up too early (sip.md §6)
      if (c->orphan_over) refuse_success(c, i);
    }
    return;
  }
  branch_final(c, i, std::move(response));
}

bool contexts::on_failure(sip::client_id id, sip::client_failure why) {
  if (legs_.on_failure(id, why)) return true;
  const auto it = by_client_.find(id);
  if (it == by_client_.end()) return false;
  const auto [c, i] = it->second;
  by_client_.erase(it);
  branch& b = c->branches[i];
  const bool current = b.client == id;
  if (current) b.client = sip::client_id::none;
  if (b.done || !current) {
    maybe_forget(c);
    return true;
  }
  switch (why) {
  case sip::client_failure::timed_out:
    way_failed(c, i, c->is_invite() ? 408 : 480);
    break; // RFC 4320: no 408
  case sip::client_failure::flow_gone:
    link_failed(c, i);
    break;
  }
  return true;
}

bool contexts::on_client_ended(sip::client_id id) {
  if (legs_.on_client_ended(id)) return true;
  const auto it = by_client_.find(id);
  if (it == by_client_.end()) return false;
  const context_ptr c = it->second.context;
  by_client_.erase(it);
  maybe_forget(c);
  return true;
}

void contexts::on_server_ended(sip::server_id id) {
  const context_ptr c = find(id);
  if (!c) return;
  c->server_ended = true;
  maybe_forget(c);
}

// ---- finals

void contexts::branch_final(const context_ptr& c, std::size_t i, sip::message response) {
  branch& b = c->branches[i];
  const int status = response.status();
  const bool more_ways = b.at + 1 < b.ways.size();
  if (!b.cancelled && !c->answered) {
    if (status == 430 && more_ways) return way_failed(c, i, 430); // RFC 5626 §5.3: the instance's next flow
    if (status == 503 && b.ways[b.at].kind == way::kind::server && b.target_at < b.targets.size())
      return next_target(c, i); // RFC 3263 §4.3
  }
  if (goes_otherwise(c, i, status)) return;
  stop_timers(b);
  b.done = true;
  b.final = response;
  if (status / 100 == 2) {
    if (!c->answered || c->is_invite()) pass(c, std::move(response));
    cancel_others(c, i, elsewhere);
    env_.timers.cancel(std::exchange(c->ring_timer, timer_id::none));
    if (c->orphan_over) refuse_success(c, i);
    maybe_forget(c);
    return;
  }
  if (status / 100 == 6) cancel_others(c, i, reason_of(status)); // §16.7 step 5
  finish(c);
}

void contexts::finish(const context_ptr& c) {
  if (c->answered || std::ranges::any_of(c->branches, [](const branch& b) { return !b.done; })) return maybe_forget(c);
  std::vector<const sip::message*> finals;
  for (const branch& b : c->branches)
    if (b.final) finals.push_back(&*b.final);
  if (c->cancelled) { // §16.10: a caller that gave up hears 487, whatever the others said meanwhile
    const bool any_6xx = std::ranges::any_of(finals, [](const sip::message* m) { return m->status() / 100 == 6; });
    if (!any_6xx) return answer(c, 487);
  }
  answer(c, best_response(finals));
}

void contexts::give_up(const context_ptr& c, std::size_t i, int status) {
  branch& b = c->branches[i];
  b.cancelled = true;
  const waiter_id waiter = b.waiter;
  if (b.client != sip::client_id::none) {
    if (c->is_invite())
      env_.transactions->cancel(b.client, reason_of(status));
    else
      env_.transactions->abandon(b.client), by_client_.erase(b.client), b.client = sip::client_id::none;
  }
  if (waiter != waiter_id::none && !c->is_invite()) {
    by_waiter_.erase(waiter);
    legs_.abandon(waiter);
  }
  branch_final(c, i, make_response(*c, status));
  if (waiter != waiter_id::none && c->is_invite()) legs_.leave(waiter, reason_of(status)); // a 2xx may cross
}

void contexts::way_failed(const context_ptr& c, std::size_t i, int status) {
  branch& b = c->branches[i];
  if (!b.cancelled && !c->answered) {
    const bool server = b.ways[b.at].kind == way::kind::server;
    if (server && b.target_at < b.targets.size()) return next_target(c, i);
    if (b.at + 1 < b.ways.size()) {
      ++b.at;
      b.targets.clear();
      b.target_at = 0;
      return start_way(c, i);
    }
  }
  sip::message response = make_response(*c, b.cancelled && status != 408 ? 487 : status);
  if (response.status() == 500) response.set(sip::header::retry_after, std::to_string(retry_after_default.count()));
  branch_final(c, i, std::move(response));
}

void contexts::stop_timers(branch& b) {
  env_.timers.cancel(std::exchange(b.budget, timer_id::none));
  env_.timers.cancel(std::exchange(b.timer_c, timer_id::none));
  env_.timers.cancel(std::exchange(b.hundred, timer_id::none));
}

void contexts::maybe_forget(const context_ptr& c) {
  if (!c->server_ended) return;
  for (const branch& b : c->branches) {
    if (!b.done) return;
    if (b.client != sip::client_id::none && by_client_.contains(b.client)) return;
    if (b.waiter != waiter_id::none && by_waiter_.contains(b.waiter)) return;
  }
  if (c->orphan_timer != timer_id::none && c->succeeded) return; // its 2xx is still in doubt
  env_.timers.cancel(std::exchange(c->ring_timer, timer_id::none));
  env_.timers.cancel(std::exchange(c->orphan_timer, timer_id::none));
  by_server_.erase(c->server);
}

} // namespace skald::roles
