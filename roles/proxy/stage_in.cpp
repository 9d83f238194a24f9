// `in`: what arrives from UAs and foreign servers. Sanity, flow, trust, Route (sip.md §1, §3).
#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "roles/core/subscriber.hpp"
#include "roles/proxy/attempt.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/record_route.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/params.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/via.hpp"

namespace skald::roles {

namespace {

metrics::counter relays_refused("skald_proxy_relay_refused_total", "Requests from outside for outside.");
metrics::counter token_preloads("skald_proxy_preloaded_tokens_total", "Preloaded Routes with a token.");

constexpr std::string_view allow =
    "INVITE, ACK, BYE, CANCEL, REGISTER, OPTIONS, MESSAGE, INFO, PRACK, UPDATE, REFER, SUBSCRIBE, NOTIFY";

// RFC 3261 §18.2.1, RFC 3581 §4; and RFC 6223 §4.4: we say how often a phone that offered it is to keep its flow alive.
void complete_via(context& c) {
  const auto stamped = sip::stamp_top_via(c.original, c.from.flow.remote);
  if (!stamped) return;
  const auto top = c.original.first(sip::header::via);
  const auto v = top ? sip::parse_via(*top) : std::unexpected(errc::missing);
  if (v && c.original.method_id() == sip::method::register_ && v->param("keep") && v->param("keep")->empty()) {
    std::string text(*top);
    const std::string params =
        sip::without_params(v->params, {"keep"}) + ";keep=" + std::to_string(keepalive_every.count());
    text.resize(static_cast<std::size_t>(v->params.data() - top->data()));
    c.original.replace_first_value(sip::header::via, text + params);
  }
  c.request = c.original;
}

void answer_options(worker& w, const context_ptr& c) {
  sip::message r = w.calls.make_response(*c, 200);
  r.append(sip::header::allow, allow);
  r.append(sip::header::accept, "application/sdp");
  r.append(sip::header::supported, "path, outbound");
  w.calls.answer(c, std::move(r));
}

bool addressed_to_us(const context& c, const sip::uri& u) {
  if (u.scheme != sip::uri_scheme::sip && u.scheme != sip::uri_scheme::sips) return false;
  if (c.names->ours(u)) return true;
  const auto ip = ip_address::parse(u.host);
  return ip && *ip == c.from.flow.local.ip && (u.port == 0 ? 5060 : u.port) == c.from.flow.local.port;
}

// What is answered before anybody is asked who calls. True: answered.
bool answered_by_sanity(worker& w, const context_ptr& c, const sip::uri& u) {
  if (u.scheme == sip::uri_scheme::other) return w.calls.answer(c, 416), true;
  const bool to_us = addressed_to_us(*c, u) && u.user.empty();
  const bool register_ = c->original.method_id() == sip::method::register_;
  if (to_us && c->original.method_id() == sip::method::options) return answer_options(w, c), true; // Max-Forwards 0 too
  // design §10: not yet active, or isolated. What is in a dialog passes, but who knows no key yet reads no token, and must
  // not say 481: that would end a call whose edge has only been started again.
  const bool in_dialog = !tag_of(c->original, sip::header::to).empty();
  if (!c->facts().serving && (!in_dialog || c->facts().keys->keys().empty())) return w.calls.answer_retry(c, 503, retry_after), true;
  if (!take_hop(w, c)) return true;
  if (const auto required = c->request.values(sip::header::proxy_require); !required.empty()) { // RFC 3261 §16.3 step 5
    sip::message r = w.calls.make_response(*c, 420);
    for (const std::string_view option : required)
      r.append(sip::header::unsupported, option);
    return w.calls.answer(c, std::move(r)), true;
  }
  const auto breadth = c->request.line(sip::header::max_breadth);
  if (breadth && sip::parse_number(*breadth).value_or(1) == 0) return w.calls.answer(c, 440), true; // RFC 5393 §5.3.3
  if (to_us && !register_ && tag_of(c->original, sip::header::to).empty()) return w.calls.answer(c, 404), true;
  return false;
}

// Methods that mean nothing outside a dialog, and packages that nobody serves. 0: goes on.
int refused_outside_dialog(const context& c, bool callee_ours) {
  switch (c.original.method_id()) {
  case sip::method::notify:
  case sip::method::bye:
  case sip::method::prack:
  case sip::method::update:
  case sip::method::info:
    return 481;
  case sip::method::publish:
  case sip::method::subscribe:
    return callee_ours ? 489 : 0;
  case sip::method::invite:
  case sip::method::ack:
  case sip::method::cancel:
  case sip::method::register_:
  case sip::method::options:
  case sip::method::message:
  case sip::method::refer:
  case sip::method::other:
    return 0;
  }
  return 0;
}

// A preloaded Route with a token is 403; one that only names us is an outbound proxy setting, and is dropped (sip.md
// §2).
bool preload_refused(worker& w, const context_ptr& c) {
  for (const our_route& r : pop_our_routes(*c->names, c->from.flow.local, c->request)) {
    if (!r.has_user) continue;
    token_preloads.add();
    w.calls.answer(c, 403);
    return true;
  }
  return false;
}

// A dialog token of ours in Record-Route that fits: this call of our user's has passed `orig` and came back to us.
bool has_passed_orig(const context& c) {
  for (const std::string_view v : c.request.values(sip::header::record_route)) {
    const auto ours = read_our_route(*c.names, c.from.flow.local, v);
    if (ours && ours->token && fit_of(*ours->token, c.request) == token_fit::sender) return true;
  }
  return false;
}

// Whose call this claims to be, if a subscriber's: credentials, then P-Preferred-Identity or From, then the flow.
std::optional<std::string> claimed_caller(worker& w, context& c) {
  if (auto aor = credentials_aor(*c.names, c.request, sip::header::proxy_authorization)) return aor;
  std::optional<std::string> said;
  if (const auto wish = c.request.first(sip::header::p_preferred_identity)) said = our_aor_in(*c.names, *wish);
  if (!said) said = from_aor(*c.names, c.request);
  if (said && !c.request.has(sip::header::p_preferred_identity) && has_passed_orig(c)) return std::nullopt;
  if (said) return said;
  const auto known = w.flows.whose(c.from.flow, {}, w.env.clock.now());
  return known ? std::optional(known->aor) : std::nullopt;
}

std::string_view named_host(const context& c) {
  const auto route = c.original.first(sip::header::route);
  std::string_view text = c.original.request_uri();
  if (route) {
    if (const auto na = sip::parse_name_addr(*route)) text = na->uri_text;
  }
  const auto u = sip::parse_uri(text);
  return u ? u->host : std::string_view{};
}

void run_register(worker& w, const context_ptr& c, const sip::uri& u) {
  if (!addressed_to_us(*c, u)) return w.calls.answer(c, 403);
  const auto aor = to_aor(*c->names, c->request);
  if (!aor) return w.calls.answer(c, 404);
  if (preload_refused(w, c)) return;
  c->learns_flow = true;
  c->caller_aor = *aor;
  add_path(w.env, *c->names, c->request, c->from, *aor, named_host(*c));
  enter(w, c, stage::in, stage::term, *aor);
}

void from_outside(worker& w, const context_ptr& c, const std::optional<std::string>& callee, bool peer) {
  if (!callee || c->request.has(sip::header::route)) { // never an open relay
    relays_refused.add();
    return w.calls.answer(c, 403);
  }
  if (c->facts().config->inbound == inbound_policy::peers && !peer && !has_passed_orig(*c))
    return w.calls.answer(c, 403);
  c->attempt = attempt_of(c->request, peer ? attempt_owner::peer : attempt_owner::stranger, c->from.flow.remote.ip.text());
  enter(w, c, stage::in, stage::term, *callee);
}

void from_subscriber(worker& w, const context_ptr& c, const std::string& caller) {
  c->caller_aor = caller;
  c->edge_name = c->facts().view->me().body.name;
  if (const auto known = w.flows.whose(c->from.flow, caller, w.env.clock.now())) c->caller_binding = known->binding_id;
  if (wants_record_route(c->request.method_id()))
    c->caller_token =
        add_record_route(w.env, *c->names, c->request, c->from.flow, c->caller_binding, sip::token_side::from,
                         host_for(w.env, *c->names, c->from, named_host(*c)), c->secure);
  enter(w, c, stage::in, stage::orig, caller);
}

} // namespace

void run_in(worker& w, const context_ptr& c) {
  complete_via(*c);
  cut_our_params(*c->names, c->request);
  const bool peer = is_trusted_peer(*c->facts().config, c->from, w.env.clock.wall());
  if (!peer) drop_assertions(c->request);
  if (c->is_invite()) w.calls.provisional(*c, 100);
  const auto u = sip::parse_uri(c->request.request_uri());
  if (!u) return w.calls.answer(c, 400);
  c->secure = u->scheme == sip::uri_scheme::sips;
  c->loop_hash = loop_hash_of(c->request);
  if (answered_by_sanity(w, c, *u)) return;
  if (has_looped(*c->names, c->request, c->loop_hash)) return w.calls.answer(c, 482); // RFC 5393 §4.2
  if (c->request.method_id() == sip::method::register_) return run_register(w, c, *u);
  if (!tag_of(c->request, sip::header::to).empty()) return run_in_dialog(w, c);
  if (preload_refused(w, c)) return;
  const auto callee =
      addressed_to_us(*c, *u) || u->scheme == sip::uri_scheme::tel ? c->names->aor_of(*u) : std::nullopt;
  if (const int status = refused_outside_dialog(*c, callee.has_value())) return w.calls.answer(c, status);
  if (const auto caller = claimed_caller(w, *c)) return from_subscriber(w, c, *caller);
  from_outside(w, c, callee, peer);
}

} // namespace skald::roles
