// `orig`: at the owner of the caller's AoR. Authenticates, asserts the identity, the caller's services (sip.md §1, §3).
#include "base/metrics.hpp"
#include "roles/core/location.hpp"
#include "roles/proxy/attempt.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/stages.hpp"

namespace skald::roles {

namespace {

metrics::counter forged_from("skald_proxy_from_refused_total",
                             "Requests whose From is not the authenticated subscriber's.");

bool may_say_from(const name_index& names, const sip::message& m, const auth_result& auth) {
  if (auth.who && auth.who->present_any) return true; // trunks
  if (from_is_anonymous(m)) return true;              // RFC 3323
  const auto from = from_aor(names, m);
  if (!from) return false;
  return *from == auth.aor || (auth.who && auth.who->owns(*from));
}

// Whom to assert: the subscriber, or the alias of his that he wished for (RFC 3325 §9.2).
std::string identity_of(const name_index& names, const sip::message& m, const auth_result& auth) {
  const auto wish = m.first(sip::header::p_preferred_identity);
  const auto aor = wish ? our_aor_in(names, *wish) : std::nullopt;
  return aor && auth.who && auth.who->owns(*aor) ? *aor : auth.aor;
}

// Phones put raw Contacts into Refer-To: a Request-URI that is the Contact of a binding of ours goes to that binding
// (sip.md §9), over its flow; its address would lead nowhere from here.
void try_contact(worker& w, const context_ptr& c, const sip::uri& u) {
  const std::string aor = "sip:" + std::string(u.user) + "@" + c->facts().config->default_domain;
  lookup(w.env, aor, [&w, alive = w.alive, weak = std::weak_ptr(c)](location_result found) {
    const context_ptr c = weak.lock();
    if (!*alive || !c || c->answered) return;
    const auto wanted = sip::parse_uri(c->request.request_uri());
    for (const binding& b : found.bindings) {
      const auto contact = sip::parse_uri(b.contact);
      if (!wanted || !contact || !sip::equal(*wanted, *contact)) continue;
      if (!take_hop(w, c)) return; // as term does
      auto to = way_to_binding(w, *c, b);
      if (!to) return w.calls.answer(c, 480);
      if (c->is_invite()) w.calls.limit_ringing(c, seconds(c->facts().config->ring_seconds));
      return w.calls.forward(c, to->kind == way::kind::flow ? stage::out : stage::term, std::move(*to));
    }
    run_out_foreign(w, c, stage::orig);
  });
}

void go_on(worker& w, const context_ptr& c, const auth_result& auth) {
  const name_index& names = *c->names;
  if (!may_say_from(names, c->request, auth)) {
    forged_from.add();
    return w.calls.answer(c, 403);
  }
  c->attempt = attempt_of(c->request, attempt_owner::subscriber, auth.aor);
  assert_identity(c->request, identity_of(names, c->request, auth));
  drop_our_credentials(names, c->request);
  const auto u = sip::parse_uri(c->request.request_uri());
  const auto callee = u ? names.aor_of(*u) : std::nullopt;
  if (callee && !c->request.has(sip::header::route)) return enter(w, c, stage::orig, stage::term, *callee);
  if (u && !u->user.empty() && ip_address::parse(u->host) && !c->request.has(sip::header::route))
    return try_contact(w, c, *u);
  run_out_foreign(w, c, stage::orig);
}

} // namespace

void run_orig(worker& w, const context_ptr& c, const std::string& aor) {
  auth_question q{
      .request = c->request, .realm = std::string(domain_of(aor)), .kind = challenge_kind::proxy, .claimed = aor,
      .again = c->again};
  w.auth.check(std::move(q), [&w, c](auth_result result) {
    if (c->answered) return;
    switch (result.verdict) {
    case auth_verdict::ok:
      return go_on(w, c, result);
    case auth_verdict::challenge:
    case auth_verdict::forbidden:
    case auth_verdict::bad_request:
    case auth_verdict::unavailable:
      return w.calls.answer(c, refusal(c->original, challenge_kind::proxy, result, c->local_tag));
    }
  });
}

} // namespace skald::roles
