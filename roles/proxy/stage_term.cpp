// `term`: at the owner of the callee's AoR. Location, the callee's services, forking; for REGISTER the registrar.
#include "base/metrics.hpp"
#include "roles/core/location.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/cseq.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter forks_cut("skald_proxy_forks_cut_total", "Bindings not rung because Max-Breadth was spent.");

void run_registrar(worker& w, const context_ptr& c, const std::string& aor) {
  w.registrar.handle(c->request, c->again, [&w, alive = w.alive, weak = std::weak_ptr(c), aor](sip::message response, bool not_owner) {
    const context_ptr c = weak.lock();
    if (!*alive || !c) return;
    if (not_owner && enter_moved(w, c, aor)) return;
    w.calls.answer(c, std::move(response));
  });
}

bool caller_is_ours(const context& c) {
  const auto asserted = c.request.first(sip::header::p_asserted_identity);
  return asserted && our_aor_in(*c.names, *asserted);
}

// A copy's: the owner that died may have forked to any flow that the instance has, or had a moment ago. Each is asked for the
// leg before one is begun (sip.md §6). Where there is but one flow, beginning asks it.
std::vector<way> ways_to_leg(worker& w, const context& c, const reach& r) {
  std::vector<binding> known;
  const unix_ms now = w.env.cluster.store().cluster_time();
  for (const binding& b : r.flows) {
    known.push_back(b);
    for (const former_flow& f : b.former) {
      if (f.until <= now) continue;
      known.push_back(b);
      known.back().id = f.binding_id;
      known.back().path = {f.path};
    }
  }
  std::vector<way> out;
  if (known.size() == 1) return out;
  for (const binding& b : known)
    if (auto there = way_to_binding(w, c, b, leg_use::attach)) out.push_back(std::move(*there));
  return out;
}

std::vector<branch> branches_to(worker& w, const context& c, std::vector<binding> bindings) {
  std::vector<branch> out;
  for (const reach& r : group_by_instance(std::move(bindings))) {
    branch b;
    b.from = stage::term;
    if (c.again) b.ways = ways_to_leg(w, c, r);
    for (std::size_t round = 0; round < r.flows.size(); ++round) {
      auto one = way_to_binding(w, c, r.flows[round]);
      if (!one) continue;
      one->round = static_cast<std::uint32_t>(round);
      b.ways.push_back(std::move(*one));
    }
    if (b.ways.empty()) continue;
    if (b.ways.front().kind == way::kind::flow) b.from = stage::out;
    out.push_back(std::move(b));
  }
  return out;
}

// RFC 5393 §5.3.3: the breadth that came is shared among the branches. False: none is left.
bool share_breadth(const context& c, std::vector<branch>& branches) {
  const auto line = c.request.line(sip::header::max_breadth);
  const std::size_t breadth = line ? sip::parse_number(*line).value_or(0) : branches_max;
  if (breadth == 0) return false;
  const std::size_t allowed = std::min(breadth, branches_max);
  if (branches.size() > allowed) {
    forks_cut.add(branches.size() - allowed);
    branches.resize(allowed);
  }
  const std::string share = std::to_string(std::max<std::size_t>(1, allowed / branches.size()));
  for (branch& b : branches)
    for (way& one : b.ways)
      one.request.set(sip::header::max_breadth, share);
  return true;
}

void fork(worker& w, const context_ptr& c, location_result found) {
  std::vector<branch> branches = branches_to(w, *c, std::move(found.bindings));
  if (branches.empty()) return w.calls.answer(c, 480); // bindings without a flow that could be used
  if (!share_breadth(*c, branches)) return w.calls.answer(c, 440);
  if (c->is_invite()) w.calls.limit_ringing(c, seconds(c->facts().config->ring_seconds));
  w.calls.forward(c, std::move(branches));
}

// Nobody to ring: an alias, whose signpost names the subscriber; a user who is nowhere; or no such user
// (consistency.md §1: only a firm "no" may say 404).
void absent(worker& w, const context_ptr& c, const std::string& aor, bool firm) {
  lookup_subscriber(w.env, aor, [&w, alive = w.alive, weak = std::weak_ptr(c), firm](subscriber_result found) {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->answered) return;
    if (found.who && !found.who->alias_of.empty()) return enter(w, c, stage::term, stage::term, found.who->alias_of);
    const bool hidden = c->facts().config->hide_users && !caller_is_ours(*c);
    const bool no_such_user = firm && found.firm && !found.who;
    w.calls.answer(c, no_such_user && !hidden ? 404 : 480);
  });
}

} // namespace

void run_term(worker& w, const context_ptr& c, const std::string& aor) {
  if (c->original.method_id() == sip::method::register_) return run_registrar(w, c, aor);
  std::string pair = aor + "\n" + std::string(c->request.request_uri());
  if (std::ranges::find(c->visited, pair) != c->visited.end()) return w.calls.answer(c, 482); // sip.md §1
  c->visited.push_back(std::move(pair));
  if (!take_hop(w, c)) return;
  lookup(w.env, aor, [&w, alive = w.alive, weak = std::weak_ptr(c), aor](location_result found) {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->answered) return;
    if (found.bindings.empty()) return absent(w, c, aor, found.firm);
    fork(w, c, std::move(found));
  });
}

} // namespace skald::roles
