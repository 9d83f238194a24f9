// `orig`: at the owner of the caller's AoR. Authenticates, asserts the identity, the caller's services (sip.md §1, §3).
#include "base/metrics.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/stages.hpp"

namespace skald::roles {

namespace {

metrics::counter forged_from("skald_proxy_from_refused_total", "Requests whose From is not the authenticated subscriber's.");

bool may_say_from(const name_index& names, const sip::message& m, const auth_result& auth) {
  if (auth.who && auth.who->present_any) return true; // trunks
  if (from_is_anonymous(m)) return true;              // RFC 3323
  const auto from = from_aor(names, m);
  if (!from) return false;
  return *from == auth.aor || (auth.who && auth.who->owns(*from));
}

void go_on(worker& w, const context_ptr& c, const auth_result& auth) {
  const name_index& names = *c->names;
  if (!may_say_from(names, c->request, auth)) {
    forged_from.add();
    return w.calls.answer(c, 403);
  }
  assert_identity(c->request, auth.aor);
  drop_our_credentials(names, c->request);
  const auto u = sip::parse_uri(c->request.request_uri());
  const auto callee = u ? names.aor_of(*u) : std::nullopt;
  if (callee && !c->request.has(sip::header::route)) return enter(w, c, stage::orig, stage::term, *callee);
  run_out_foreign(w, c, stage::orig);
}

} // namespace

void run_orig(worker& w, const context_ptr& c, const std::string& aor) {
  auth_question q{.request = c->request, .realm = std::string(domain_of(aor)), .kind = challenge_kind::proxy, .claimed = aor};
  w.auth.check(std::move(q), [&w, c](auth_result result) {
    if (c->answered || c->cancelled) return;
    switch (result.verdict) {
    case auth_verdict::ok: return go_on(w, c, result);
    case auth_verdict::challenge:
    case auth_verdict::forbidden:
    case auth_verdict::bad_request:
    case auth_verdict::unavailable:
      return w.calls.answer(c, refusal(c->original, challenge_kind::proxy, result, c->local_tag));
    }
  });
}

} // namespace skald::roles
