#include "roles/proxy/in_dialog.hpp"

#include "base/metrics.hpp"
#include "roles/core/location.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/record_route.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::roles {

namespace {

metrics::counter toll_holes("skald_proxy_toll_hole_refused_total",
                            "In-dialog requests for a place that is no Contact of the dialog.");
metrics::counter tokens_refused("skald_proxy_tokens_refused_total",
                                "In-dialog requests whose token does not open or fit.");
metrics::counter without_route("skald_proxy_dialogs_asked_total", "In-dialog requests without a Route of ours.");

// RFC 3261 §16.4: a strict router before us put our Record-Route URI into the Request-URI.
void undo_strict_routing(const name_index& names, sip::message& m) {
  const auto u = sip::parse_uri(m.request_uri());
  if (!u || !sip::looks_like_token(u->user) || !sip::open_token(u->user, *names.facts()->keys)) return;
  const auto routes = m.values(sip::header::route);
  if (routes.empty()) return;
  const auto last = sip::parse_name_addr(routes.back());
  if (!last) return;
  // The token stays in the list: it says which side this is.
  const std::string ours = "<" + std::string(m.request_uri()) + ">";
  m.set_request_uri(last->uri_text);
  std::vector<std::string_view> rest{ours};
  rest.insert(rest.end(), routes.begin(), routes.end() - 1);
  m.set_values(sip::header::route, rest);
}

struct question {
  std::shared_ptr<const name_index> names;
  sip::arrival from;
  sip::message m;
  bool secure = false;
  way_found done;
};

std::expected<way, int> outside_if_seen(const question& q, bool seen) {
  if (seen) return way_outside(*q.names, q.m);
  toll_holes.add();
  return std::unexpected(403);
}

std::string call_id_of(const sip::message& m) {
  return std::string(m.line(sip::header::call_id).value_or(std::string_view{}));
}

bool same_source(const name_index& names, const dialog_party& p, const sip::flow& f) {
  const auto t = p.token.empty() ? std::unexpected(errc::missing) : sip::open_token(p.token, *names.facts()->keys);
  return t && t->transport == f.transport && t->remote == f.remote;
}

// A foreign party has no token: what it sends comes from the address that its Contact names.
bool is_at_its_contact(const dialog_party& p, const sip::flow& f) {
  const auto u = sip::parse_uri(p.contact);
  if (!u) return false;
  const auto ip = ip_address::parse(u->host);
  return ip && *ip == f.remote.ip;
}

// Without a Route of ours: only from the flow of a party that `dialogs` knows. The flow that the request goes to, or
// nothing for a foreign party.
std::expected<std::optional<our_route>, int> by_record(worker& w, const question& q, const dialog_record& d) {
  const bool caller_speaks = tag_of(q.m, sip::header::from) == d.caller.tag;
  const dialog_party& sender = caller_speaks ? d.caller : d.callee;
  const dialog_party& receiver = caller_speaks ? d.callee : d.caller;
  const bool theirs =
      sender.token.empty() ? is_at_its_contact(sender, q.from.flow) : same_source(*q.names, sender, q.from.flow);
  if (!theirs || (receiver.token.empty() && sender.token.empty())) return std::unexpected(481);
  if (receiver.token.empty()) return std::nullopt;
  auto t = sip::open_token(receiver.token, *q.names->facts()->keys);
  if (!t) return std::unexpected(481);
  return our_route{.host = w.env.flows.advertised(t->flow()).text(), .token = *t, .has_user = true};
}

// Over the flow of that token, or however else its UA can be found.
void go_by_token(worker& w, question q, const our_route& r) {
  auto found = way_by_token(w, *q.names, q.m, r, q.secure);
  if (found || found.error() != 430) return q.done(std::move(found));
  find_again(w, std::move(q.names), std::move(q.m), r, q.secure, std::move(q.done));
}

} // namespace

dialog_plan plan_in_dialog(const name_index& names, const endpoint& local, sip::message& m) {
  undo_strict_routing(names, m);
  dialog_plan p;
  for (our_route& r : pop_our_routes(names, local, m)) {
    p.any_ours = true;
    if (!r.has_user) continue;                                           // an outbound proxy setting
    const token_fit fit = r.token ? fit_of(*r.token, m) : token_fit::no; // a path token fits nothing here
    switch (fit) {
    case token_fit::no:
      tokens_refused.add();
      p.status = 481;
      return p;
    case token_fit::sender:
      p.sender = std::move(r);
      break;
    case token_fit::receiver:
      p.receiver = std::move(r);
      break;
    }
  }
  return p;
}

void route_in_dialog(worker& w, std::shared_ptr<const name_index> names, const sip::arrival& from, sip::message m,
                     dialog_plan plan, bool secure, way_found done) {
  if (plan.status != 0) return done(std::unexpected(plan.status));
  question q{std::move(names), from, std::move(m), secure, std::move(done)};
  if (plan.receiver) return go_by_token(w, std::move(q), *plan.receiver);
  if (plan.sender) {                                                            // the other side is foreign
    if (q.m.has(sip::header::route)) return q.done(way_outside(*q.names, q.m)); // Routes that followed ours
    const auto e = w.dialogs.find(call_id_of(q.m), tag_of(q.m, sip::header::from), tag_of(q.m, sip::header::to));
    if (e && dialog_memory::has_host_of(*e, q.m.request_uri())) return q.done(way_outside(*q.names, q.m));
    const name_index& n = *q.names;
    const sip::message copy = q.m;
    return ask_dialogs(w, n, copy, [q = std::move(q)](std::optional<dialog_record> d) mutable {
      q.done(outside_if_seen(q, d && dialog_memory::has_host_of(*d, q.m.request_uri())));
    });
  }
  without_route.add();
  const name_index& n = *q.names;
  const sip::message copy = q.m;
  ask_dialogs(w, n, copy, [&w, q = std::move(q)](std::optional<dialog_record> d) mutable {
    if (!d) return q.done(std::unexpected(481));
    const auto to = by_record(w, q, *d);
    if (!to) return q.done(std::unexpected(to.error()));
    if (*to) return go_by_token(w, std::move(q), **to);
    q.done(outside_if_seen(q, dialog_memory::has_host_of(*d, q.m.request_uri())));
  });
}

namespace {

void go_in_dialog(worker& w, const context_ptr& c, const std::optional<our_route>& receiver, std::expected<way, int> found) {
  if (!found) {
    // A flow that is gone ends nothing and starts no failover: 500, neither 503 nor 481 (sip.md §6).
    c->undelivered = found.error() == 430;
    if (c->undelivered) return w.calls.answer_retry(c, 500, retry_after);
    return w.calls.answer(c, found.error());
  }
  // Its edge may know better than we do that the flow is gone.
  if (receiver && found->kind == way::kind::link)
    found->otherwise = [&w, weak = std::weak_ptr(c), receiver] {
      const context_ptr c = weak.lock();
      if (!c) return;
      find_again(w, c->names, c->request, *receiver, c->secure, [&w, weak](std::expected<way, int> again) {
        const context_ptr c = weak.lock();
        if (c && !c->answered) go_in_dialog(w, c, std::nullopt, std::move(again)); // once
      });
    };
  const stage from = found->kind == way::kind::link ? stage::in : stage::out;
  w.calls.forward(c, from, std::move(*found));
}

} // namespace

void run_in_dialog(worker& w, const context_ptr& c) {
  dialog_plan plan = plan_in_dialog(*c->names, c->from.flow.local, c->request);
  c->entered = stage::in;
  const bool subscriber = plan.sender || w.flows.knows(c->from.flow, w.env.clock.now());
  if (plan.status == 0 && subscriber && wants_record_route(c->request.method_id())) {
    std::string host = plan.sender ? plan.sender->host : w.env.flows.advertised(c->from.flow).text();
    c->caller_binding = plan.sender ? plan.sender->token->binding_id : 0;
    c->caller_token = add_record_route(w.env, *c->names, c->request, c->from.flow, c->caller_binding,
                                       sip::token_side::from, host, c->secure);
  }
  const std::optional<our_route> receiver = plan.receiver;
  route_in_dialog(w, c->names, c->from, c->request, std::move(plan), c->secure,
                  [&w, weak = std::weak_ptr(c), receiver](std::expected<way, int> found) {
                    const context_ptr c = weak.lock();
                    if (c && !c->answered) go_in_dialog(w, c, receiver, std::move(found));
                  });
}

} // namespace skald::roles
