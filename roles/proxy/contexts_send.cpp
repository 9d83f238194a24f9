// The sending half of contexts: ways, targets, Via, the timers of a branch.
#include "roles/proxy/contexts.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "roles/proxy/routes.hpp"

namespace skald::roles {

namespace {
metrics::counter failovers("skald_proxy_target_failovers_total",
                           "Requests sent to the next target of a foreign server.");

constexpr std::uint32_t rounds_asked = 8; // flows of one instance

// RFC 3261 §18.1.1: what is over 1300 bytes goes by TCP, and by UDP after all where there is nobody.
void prefer_streams(const sip::message& request, std::vector<sip::target>& targets) {
  if (request.serialize().size() + via_room <= datagram_bytes_max) return;
  std::vector<sip::target> out;
  for (sip::target& t : targets) {
    if (t.transport == sip::transport::udp) out.push_back({sip::transport::tcp, t.remote, {}});
    out.push_back(std::move(t));
  }
  targets = std::move(out);
}
}

void contexts::start_way(const context_ptr& c, std::size_t i) {
  branch& b = c->branches[i];
  ++b.turn;
  arm(c, i);
  switch (b.ways[b.at].kind) {
  case way::kind::flow:
    if (b.ways[b.at].use == leg_use::attach && c->attempt.empty()) return way_failed(c, i, 430);
    if (!env_.flows.alive(b.ways[b.at].flow)) return way_failed(c, i, 430); // RFC 5626 §5.3
    return transmit(c, i, b.ways[b.at].flow);
  case way::kind::link:
    return start_link(c, i);
  case way::kind::server:
    return start_server(c, i);
  }
}

void contexts::start_link(const context_ptr& c, std::size_t i) {
  const branch& b = c->branches[i];
  env_.flows.open_link(b.ways[b.at].node,
                       [this, alive = alive_, weak = std::weak_ptr(c), i, turn = b.turn](std::optional<sip::flow> f) {
                         const context_ptr c = weak.lock();
                         if (!*alive || !c || c->branches[i].turn != turn || c->branches[i].done) return;
                         if (f) return transmit(c, i, *f);
                         if (!hop_lost(c, i))
                           way_failed(c, i, c->branches[i].ways[c->branches[i].at].unreachable);
                       });
}

void contexts::start_server(const context_ptr& c, std::size_t i) {
  const branch& b = c->branches[i];
  resolver_.resolve(b.ways[b.at].next_hop, [this, alive = alive_, weak = std::weak_ptr(c), i,
                                            turn = b.turn](std::vector<sip::target> targets) {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->branches[i].turn != turn || c->branches[i].done) return;
    branch& b = c->branches[i];
    b.targets = std::move(targets);
    prefer_streams(b.ways[b.at].request, b.targets);
    if (b.targets.size() > targets_max) b.targets.resize(targets_max);
    b.target_at = 0;
    if (b.targets.empty()) return way_failed(c, i, b.ways[b.at].unreachable); // RFC 3263 §4.3: nothing to try
    next_target(c, i);
  });
}

void contexts::next_target(const context_ptr& c, std::size_t i) {
  branch& b = c->branches[i];
  ++b.turn;
  if (b.target_at > 0) failovers.add();
  sip::target to = b.targets[b.target_at++];
  to.trusted_peer = to.transport == sip::transport::tls && c->facts().config->is_peer(to_lower(to.tls_name));
  // A host that swallows what it does not want would hold us for minutes.
  env_.timers.at(env_.clock.now() + open_time, [this, weak = std::weak_ptr(c), i, turn = b.turn] {
    const context_ptr c = weak.lock();
    if (!c || c->branches[i].turn != turn || c->branches[i].done || c->branches[i].opened) return;
    way_failed(c, i, c->branches[i].ways[c->branches[i].at].unreachable);
  });
  b.opened = false;
  env_.flows.open(to, [this, alive = alive_, weak = std::weak_ptr(c), i, turn = b.turn](std::optional<sip::flow> f) {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->branches[i].turn != turn || c->branches[i].done) return;
    c->branches[i].opened = true;
    if (f)
      transmit(c, i, *f);
    else
      way_failed(c, i, c->branches[i].ways[c->branches[i].at].unreachable);
  });
}

void contexts::transmit(const context_ptr& c, std::size_t i, const sip::flow& flow) {
  branch& b = c->branches[i];
  b.ringing = false;
  if (b.ways[b.at].kind == way::kind::link) return transmit_link(c, i, flow);
  if (!c->attempt.empty()) return join_leg(c, i, flow);
  sip::message m = b.ways[b.at].request;
  put_via(m, flow, c->loop_hash, *c->names);
  b.client = env_.transactions->send_request(m, flow);
  by_client_[b.client] = {c, i};
}

void contexts::transmit_link(const context_ptr& c, std::size_t i, const sip::flow& flow) {
  branch& b = c->branches[i];
  const way& w = b.ways[b.at];
  sip::message m = w.request;
  m.prepend(sip::header::route,
            with_attempt(w.link_route, {.attempt = c->attempt, .origin = c->origin, .turn = c->turn, .round = w.round}));
  put_via(m, flow, c->loop_hash, *c->names);
  b.client = env_.transactions->send_request(m, flow);
  by_client_[b.client] = {c, i};
  if (b.cancelled) static_cast<void>(env_.transactions->cancel(b.client, c->cancel_reason)); // after the 100 (sip.md §6)
  if (!w.asks_100) return;
  b.hundred = env_.timers.at(env_.clock.now() + hundred_time, [this, weak = std::weak_ptr(c), i, turn = b.turn] {
    const context_ptr c = weak.lock();
    if (!c || c->branches[i].turn != turn || c->branches[i].done) return;
    c->branches[i].hundred = timer_id::none;
    hop_lost(c, i);
  });
}

void contexts::join_leg(const context_ptr& c, std::size_t i, const sip::flow& flow) {
  branch& b = c->branches[i];
  const way& w = b.ways[b.at];
  const std::uint32_t round = w.round != 0 ? w.round : c->round;
  const auto key_of = [&](std::uint32_t n) { return leg_key_of(c->attempt, w.binding_id, w.next_hop, flow, n); };
  leg_key key = key_of(round);
  if (w.use == leg_use::attach) // the order of an instance's flows may have changed since
    for (std::uint32_t n = 0; n < rounds_asked && !legs_.known(key); ++n)
      key = key_of(n);
  b.client = sip::client_id::none;
  b.waiter = legs_.next_id();
  by_waiter_[b.waiter] = {c, i};
  legs_.join(b.waiter, {.attempt = c->attempt,
                        .key = key,
                        .ua = ua_key_of(c->attempt, w.binding_id, w.next_hop, flow),
                        .origin = c->origin,
                        .turn = c->turn,
                        .request = w.request,
                        .flow = flow,
                        .loop_hash = c->loop_hash,
                        .names = c->names,
                        .use = w.use});
}

// Timer C for an INVITE (RFC 3261 §16.6 step 11), the stage's budget for all else (sip.md §7).
void contexts::arm(const context_ptr& c, std::size_t i) {
  branch& b = c->branches[i];
  if (c->is_invite()) {
    if (b.from == stage::out || b.ways[b.at].kind != way::kind::link) arm_timer_c(c, i);
    return;
  }
  if (b.budget != timer_id::none) return; // one budget for all the ways of a branch
  b.budget = env_.timers.at(env_.clock.now() + budget_of(b.from), [this, weak = std::weak_ptr(c), i] {
    const context_ptr c = weak.lock();
    if (!c || c->branches[i].done) return;
    c->branches[i].budget = timer_id::none;
    give_up(c, i, 480);
  });
}

void contexts::arm_timer_c(const context_ptr& c, std::size_t i) {
  branch& b = c->branches[i];
  if (b.ways[b.at].kind == way::kind::link) return; // runs at the far end
  env_.timers.cancel(b.timer_c);
  b.timer_c = env_.timers.at(env_.clock.now() + timer_c_time, [this, weak = std::weak_ptr(c), i] {
    const context_ptr c = weak.lock();
    if (!c || c->branches[i].done) return;
    c->branches[i].timer_c = timer_id::none;
    give_up(c, i, 408);
  });
}

} // namespace skald::roles
