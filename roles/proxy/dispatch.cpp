// From stage to stage: one load from the ring, then a function call or a link (sip.md §1).
#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "roles/proxy/dialog_keeper.hpp"
#include "roles/proxy/moved_flows.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/via.hpp"
#include "sip/transaction/branch.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter third_hops("skald_proxy_third_hops_total",
                            "Requests refused because two nodes already passed one stage on.");
metrics::counter no_owner("skald_proxy_no_owner_total", "Requests for which no owner was to be had.");
metrics::counter owner_waits("skald_proxy_owner_waits_total", "Waits for an owner that could not be reached.");
metrics::counter retries("skald_proxy_owner_retries_total", "Requests sent to the next owner: one had died with them.");
metrics::counter readers("skald_proxy_instead_of_total", "Requests that this node ran from its copy instead of an owner.");
metrics::counter bad_link_routes("skald_proxy_bad_link_routes_total", "Requests on links without a stage of ours.");
metrics::counter passed_on("skald_proxy_passed_on_total", "Requests for keys of others, passed on once more.");

void run_here(worker& w, const context_ptr& c, stage to, const std::string& aor) {
  switch (to) {
  case stage::in:
    return;
  case stage::orig:
    return run_orig(w, c, aor);
  case stage::term:
    return run_term(w, c, aor);
  case stage::out:
    return;
  }
}

struct errand {
  stage from, to;
  std::string aor;
  mono_time deadline;         // for an owner that can be reached
  std::vector<node_id> tried; // of the list, without an answer
  std::uint32_t retries = 0;  // after the request had been sent
  std::uint32_t hop = 1;      // of the link that it goes by
};
using errand_ptr = std::shared_ptr<errand>;

way link_way(const context_ptr& c, const node_id& to, const link_route& r) {
  way out;
  out.kind = way::kind::link;
  out.request = c->request;
  out.node = to;
  out.unreachable = 500;
  out.link_route = make_link_route(*c->names, to, r);
  return out;
}

void enter_until(worker& w, const context_ptr& c, const errand_ptr& e);

// Nobody of the list can be reached: asks the ring again in a moment.
void enter_later(worker& w, const context_ptr& c, const errand_ptr& e) {
  owner_waits.add();
  w.env.timers.at(w.env.clock.now() + owner_retry, [&w, alive = w.alive, weak = std::weak_ptr(c), e] {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->answered) return;
    if (w.env.clock.now() >= e->deadline) {
      if (c->cancelled) return w.calls.answer(c, 487);
      no_owner.add();
      return w.calls.answer_retry(c, 500, retry_after);
    }
    c->names = w.names();
    e->tried.clear();
    enter_until(w, c, e);
  });
}

// What writes is not run instead of a live owner: its acks would not count (sip.md §6).
bool writes(const context& c) {
  return c.original.method_id() == sip::method::register_;
}

// The first of the list that was not tried. nullptr: none.
const node_id* next_holder(const context& c, const errand& e) {
  const auto list = c.facts().registrars->at(dht::key_of_aor(e.aor));
  for (const node_id* id : list.span())
    if (std::ranges::find(e.tried, *id) == e.tried.end())
      return writes(c) && id != list.nodes[0] ? nullptr : id;
  return nullptr;
}

void owner_lost(worker& w, const context_ptr& c, const errand_ptr& e, const node_id& owner, bool was_sent) {
  e->tried.push_back(owner);
  c->silent.push_back(owner);
  c->names = w.names();
  if (!was_sent) return enter_until(w, c, e);
  c->again = true;
  // Copies are told by this which of them is the later: of the caller's owner's first, then of the callee's.
  c->turn += e->to == stage::orig ? owner_retries_max + 2 : 1;
  if (writes(*c)) return enter_later(w, c, e);
  if (e->retries++ < owner_retries_max) {
    retries.add();
    return enter_until(w, c, e);
  }
  no_owner.add();
  if (c->cancelled) return w.calls.answer(c, 487);
  w.calls.answer_retry(c, 500, retry_after);
}

void enter_until(worker& w, const context_ptr& c, const errand_ptr& e) {
  const cluster_facts& facts = c->facts();
  if (!facts.registrars || facts.registrars->owner(dht::key_of_aor(e->aor)) == nullptr) {
    no_owner.add();
    return w.calls.answer_retry(c, 500, retry_after);
  }
  const node_id* holder = next_holder(*c, *e);
  if (holder == nullptr) return enter_later(w, c, e);
  if (*holder == facts.view->self) return run_here(w, c, e->to, e->aor);
  link_route r{.stage = e->to, .aor = e->aor, .hop = e->hop, .edge = c->edge_name, .secure = c->secure, .stamp = {}};
  if (!e->tried.empty())
    if (const dht::member* m = facts.view->find(e->tried.back())) r.instead_of = m->body.name;
  way out = link_way(c, *holder, r);
  out.asks_100 = !writes(*c);
  out.owner_lost = [&w, alive = w.alive, weak = std::weak_ptr(c), e, owner = *holder](bool was_sent) {
    const context_ptr c = weak.lock();
    if (*alive && c) owner_lost(w, c, e, owner, was_sent);
  };
  w.calls.forward(c, e->from, std::move(out));
}

void run_link_out(worker& w, const context_ptr& c, const link_route& r) {
  if (r.orphan) {
    w.calls.legs().end_unless_acknowledged(c->request);
    return w.calls.answer(c, 200);
  }
  if (r.moved) return take_moved(w, c, r.removed);
  if (r.dialogs) return answer_for_dialogs(w, c);
  const auto top = c->request.first(sip::header::route);
  const auto ours = top ? read_our_route(*c->names, c->from.flow.local, *top) : std::nullopt;
  if (!ours || !ours->token) return run_out_foreign(w, c, stage::out); // sent back to the caller's edge by orig
  const sip::token& t = *ours->token;
  // A dialog token is judged here too: it opens only what it was made for.
  if (t.kind == sip::token_kind::dialog && fit_of(t, c->request) == token_fit::no) return w.calls.answer(c, 481);
  if (t.node != c->facts().view->self.head()) return w.calls.answer_retry(c, 500, retry_after);
  c->request.remove_first_value(sip::header::route);
  auto out = way_by_token(w, *c->names, c->request, *ours, c->secure, r.use);
  if (!out) return w.calls.answer(c, out.error());
  w.calls.forward(c, stage::out, std::move(*out));
}

} // namespace

void enter(worker& w, const context_ptr& c, stage from, stage to, const std::string& aor) {
  enter_until(w, c, std::make_shared<errand>(errand{
                           from, to, aor, w.env.clock.now() + owner_wait, writes(*c) ? std::vector<node_id>{} : c->silent, 0}));
}

namespace {

void pass_on_later(worker& w, const context_ptr& c, const link_route& r, mono_time until, std::optional<node_id> lost);

// A stage that came over a link to a node that does not own the key. It goes on once, and no third hop for one stage (sip.md
// §1): two nodes took us for the owner then, or it is `lost` (just gone), and our view may be what is late. Of a node that
// joins or leaves all know within some ten milliseconds.
void pass_on(worker& w, const context_ptr& c, const link_route& r, mono_time until, std::optional<node_id> lost = {}) {
  const cluster_facts& facts = c->facts();
  const node_id* owner = facts.registrars ? facts.registrars->owner(dht::key_of_aor(r.aor)) : nullptr;
  if (owner != nullptr && *owner == facts.view->self) return run_here(w, c, r.stage, r.aor);
  if (owner != nullptr && r.hop < stage_hops_max && lost != *owner) {
    passed_on.add();
    link_route next = r;
    ++next.hop;
    way out = link_way(c, *owner, next);
    out.owner_lost = [&w, alive = w.alive, weak = std::weak_ptr(c), r, until, owner = *owner](bool was_sent) {
      const context_ptr c = weak.lock();
      if (!*alive || !c) return;
      c->silent.push_back(owner);
      if (was_sent) c->again = true, ++c->turn;
      pass_on_later(w, c, r, until, owner);
    };
    return w.calls.forward(c, r.stage, std::move(out));
  }
  pass_on_later(w, c, r, until, lost);
}

void pass_on_later(worker& w, const context_ptr& c, const link_route& r, mono_time until, std::optional<node_id> lost) {
  w.env.timers.at(w.env.clock.now() + owner_retry, [&w, alive = w.alive, weak = std::weak_ptr(c), r, until, lost] {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->answered) return;
    if (w.env.clock.now() >= until) {
      if (c->cancelled) return w.calls.answer(c, 487);
      third_hops.add();
      return w.calls.answer_retry(c, 500, retry_after);
    }
    c->names = w.names();
    pass_on(w, c, r, until, lost);
  });
}

} // namespace

bool enter_moved(worker& w, const context_ptr& c, const std::string& aor) {
  const mono_time now = w.env.clock.now();
  if (!c->moving) c->moving = now + owner_wait;
  const std::uint32_t hop = c->entered == stage::term ? c->hop + 1 : 1;
  if (now >= *c->moving || hop > stage_hops_max) return false;
  c->again = true; // its nonce may have been noted as used
  ++c->turn;
  enter_later(w, c, std::make_shared<errand>(errand{.from = stage::term, .to = stage::term, .aor = aor, .deadline = *c->moving, .tried = {}, .hop = hop}));
  return true;
}

void run_link(worker& w, const context_ptr& c) {
  w.calls.provisional(*c, 100); // every request on a link at once (sip.md §6; RFC 4320 lets it)
  const auto top = c->request.first(sip::header::route);
  auto r = top ? read_link_route(*c->names, *top) : std::nullopt;
  if (!r || r->stage == stage::in) {
    bad_link_routes.add();
    return w.calls.answer(c, 403);
  }
  c->loop_hash = loop_hash_of(c->request);
  if (has_looped(*c->names, c->request, c->loop_hash)) return w.calls.answer(c, 482);
  c->request.remove_first_value(sip::header::route);
  c->entered = r->stage;
  c->hop = r->hop;
  c->edge_name = r->edge;
  c->secure = r->secure;
  c->attempt = r->attempt;
  if (r->origin != 0) c->origin = r->origin;
  c->turn = r->turn;
  c->round = r->round;
  c->again = !r->instead_of.empty() || r->turn != 0;
  if (const dht::member* m = r->instead_of.empty() ? nullptr : c->facts().view->find_name(r->instead_of))
    c->silent.push_back(m->id);
  if (r->stage == stage::out) return run_link_out(w, c, *r);
  if (r->aor.empty()) return w.calls.answer(c, 400);
  const cluster_facts& facts = c->facts();
  const node_id* owner = facts.registrars ? facts.registrars->owner(dht::key_of_aor(r->aor)) : nullptr;
  if (owner == nullptr || *owner == facts.view->self) {
    if (owner == nullptr) return w.calls.answer_retry(c, 500, retry_after);
    return run_here(w, c, r->stage, r->aor);
  }
  // In place of an owner that looks dead from there: we have a copy, and read it (sip.md §6).
  if (!r->instead_of.empty() && !writes(*c) && facts.registrars->at(dht::key_of_aor(r->aor)).has(facts.view->self)) {
    readers.add();
    return run_here(w, c, r->stage, r->aor);
  }
  if (facts.view && r->stamp != facts.view->stamp.text()) w.env.cluster.views_differ(c->from.peer);
  pass_on(w, c, *r, w.env.clock.now() + owner_wait);
}

bool take_hop(worker& w, const context_ptr& c) {
  const auto line = c->request.line(sip::header::max_forwards);
  std::uint32_t left = max_forwards_default; // RFC 3261 §16.6 step 3
  if (line) left = sip::parse_number(*line).value_or(0);
  if (left == 0) {
    w.calls.answer(c, 483); // §16.3 step 3
    return false;
  }
  c->request.set(sip::header::max_forwards, std::to_string(left - 1));
  return true;
}

std::uint32_t loop_hash_of(const sip::message& m) {
  std::string text(m.request_uri());
  // The view stamp and the hop count are no part of where a request goes.
  for (std::string_view v : m.values(sip::header::route)) {
    text += '\n';
    if (const std::size_t at = v.find(";vs="); at != std::string_view::npos) v = v.substr(0, at);
    text += v;
  }
  for (const sip::header h : {sip::header::from, sip::header::to, sip::header::call_id, sip::header::cseq})
    text.append("\n").append(m.line(h).value_or(std::string_view{}));
  return get_be<std::uint32_t>(std::string_view(crypto::sha1(text)).substr(0, 4));
}

bool has_looped(const name_index& names, const sip::message& m, std::uint32_t hash) {
  for (const std::string_view value : m.values(sip::header::via)) {
    const auto v = sip::parse_via(value);
    if (!v) continue;
    const auto parts = sip::open_branch(v->branch, *names.facts()->keys);
    if (parts && parts->loop_hash == hash) return true;
  }
  return false;
}

} // namespace skald::roles
