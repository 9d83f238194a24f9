#include "roles/core/authenticator.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "roles/core/location.hpp"
#include "roles/core/names.hpp"
#include "sip/auth/challenge.hpp"
#include "sip/auth/credentials.hpp"
#include "sip/auth/nonce.hpp"
#include "sip/message/params.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

metrics::counter accepted("skald_auth_total", "Authentications by result", R"(result="ok")");
metrics::counter challenged("skald_auth_total", "Authentications by result", R"(result="challenge")");
metrics::counter challenged_stale("skald_auth_total", "Authentications by result", R"(result="stale")");
metrics::counter refused("skald_auth_total", "Authentications by result", R"(result="forbidden")");
metrics::counter malformed("skald_auth_total", "Authentications by result", R"(result="bad_request")");
metrics::counter no_answer("skald_auth_total", "Authentications by result", R"(result="unavailable")");
metrics::counter replayed("skald_auth_replays_total", "Requests with a right digest whose nonce count was used before");
metrics::counter unwritten("skald_auth_replay_unwritten_total", "Used nonces that did not reach the copies");

// Kept a little longer than the nonce lives, for clocks that differ.
constexpr milliseconds kept_after_life{10'000};
constexpr std::size_t challenge_tag_bytes = 8;

void count(const auth_result& r) {
  switch (r.verdict) {
  case auth_verdict::ok: return accepted.add();
  case auth_verdict::challenge: return r.stale ? challenged_stale.add() : challenged.add();
  case auth_verdict::forbidden: return refused.add();
  case auth_verdict::bad_request: return malformed.add();
  case auth_verdict::unavailable: return no_answer.add();
  }
}

// The host as sip.md §1 reads it: a node's name or address stands for the default domain. Empty: not ours.
std::string domain_named(const name_index& names, const sip::uri& u) {
  switch (names.kind_of(u.host, u.port)) {
  case host_kind::foreign: return {};
  case host_kind::domain: return to_lower(u.host);
  case host_kind::node:
  case host_kind::address: return names.facts()->config->default_domain;
  }
  return {};
}

// RFC 7616 §3.4.6: `uri` is the Request-URI, or names the same in another way (a client that was given an address), or
// only the server (docs/decisions/0018): then it signs less than it could, which is the client's own choice.
bool names_the_same(const facts_ptr& facts, std::string_view digest_uri, std::string_view request_uri) {
  if (sip::digest_uri_fits(digest_uri, request_uri)) return true;
  const auto a = sip::parse_uri(digest_uri), b = sip::parse_uri(request_uri);
  if (!a || !b || (!a->user.empty() && sip::unescape(a->user) != sip::unescape(b->user))) return false;
  const name_index names(facts);
  const std::string domain = domain_named(names, *a);
  return !domain.empty() && domain == domain_named(names, *b);
}

// The value of the first credentials for that realm (RFC 3261 §22.3: one for each).
std::optional<std::string_view> credentials_for(const sip::message& request, challenge_kind kind, std::string_view realm) {
  for (const std::string_view value : request.values(credentials_header(kind)))
    if (sip::realm_of(value) == realm) return value;
  return std::nullopt;
}

std::optional<std::string> aor_of_username(std::string_view username, std::string_view realm) {
  const std::string_view user = sip::split_username(username, realm).user;
  if (user.empty()) return std::nullopt;
  const std::string text = "sip:" + sip::escape_user(user) + "@" + std::string(realm);
  const auto u = sip::parse_uri(text);
  if (!u) return std::nullopt;
  auto aor = sip::canonical_aor(*u, realm);
  if (!aor) return std::nullopt;
  return std::move(*aor);
}

std::vector<sip::digest_algorithm> setting_of(const settings& s) {
  std::vector<sip::digest_algorithm> out;
  for (const std::string& name : s.digest_algorithms)
    if (const auto a = sip::digest_algorithm_from(name)) out.push_back(*a);
  return out;
}

// A challenge is kept by no transaction: a request that comes twice is challenged twice, with one tag (RFC 3261 §8.2.7).
// What is alike in both is alike at every hop too. Whoever sent it made the part that nobody else can guess.
std::string challenge_tag(const sip::message& request) {
  std::string text;
  for (const sip::header h : {sip::header::call_id, sip::header::from, sip::header::cseq})
    text.append(request.line(h).value_or(std::string_view{})).append("\n");
  return to_hex(std::string_view(crypto::sha256(text)).substr(0, challenge_tag_bytes));
}

} // namespace

sip::header credentials_header(challenge_kind k) {
  return k == challenge_kind::www ? sip::header::authorization : sip::header::proxy_authorization;
}

sip::header challenge_header(challenge_kind k) {
  return k == challenge_kind::www ? sip::header::www_authenticate : sip::header::proxy_authenticate;
}

struct authenticator::attempt {
  auth_question question;
  facts_ptr facts;
  std::optional<sip::digest_credentials> credentials;
  std::vector<sip::digest_algorithm> setting; // the domain's
};

std::optional<std::string> named_by_credentials(const sip::message& request, challenge_kind kind, std::string_view realm) {
  const auto value = credentials_for(request, kind, realm);
  if (!value) return std::nullopt;
  const auto c = sip::parse_digest_credentials(*value);
  if (!c) return std::nullopt;
  return aor_of_username(c->username, realm);
}

sip::message refusal(const sip::message& request, challenge_kind kind, const auth_result& result, std::string_view to_tag) {
  switch (result.verdict) {
  case auth_verdict::challenge: {
    sip::message m = sip::make_reply(request, kind == challenge_kind::www ? 401 : 407, {}, challenge_tag(request));
    for (const std::string& c : result.challenges) m.append(challenge_header(kind), c);
    return m;
  }
  case auth_verdict::forbidden: return sip::make_reply(request, 403, {}, to_tag);
  case auth_verdict::bad_request: return sip::make_reply(request, 400, result.reason, to_tag);
  case auth_verdict::ok:
  case auth_verdict::unavailable: break;
  }
  sip::message m = sip::make_reply(request, 500, {}, to_tag);
  m.set(sip::header::retry_after, "5");
  return m;
}

void authenticator::check(auth_question question, std::move_only_function<void(auth_result)> done) {
  attempt a{std::move(question), env_.cluster.facts(), {}, {}};
  a.setting = setting_of(*a.facts->config);
  auth_result result;
  result.aor = a.question.claimed;
  const auto finish = [&](auth_verdict v, std::string_view reason) {
    result.verdict = v;
    result.reason = reason;
    count(result);
    done(std::move(result));
  };
  if (const auto value = credentials_for(a.question.request, a.question.kind, a.question.realm)) {
    auto c = sip::parse_digest_credentials(*value);
    // Another algorithm or scheme than we offer is as good as none; what is broken is said to be.
    if (!c && c.error() != errc::unsupported) return finish(auth_verdict::bad_request, "Malformed Credentials");
    if (c) a.credentials = std::move(*c);
  }
  if (a.credentials) {
    if (a.credentials->qop == sip::digest_qop::auth_int) return finish(auth_verdict::bad_request, "qop=auth-int Not Offered");
    if (!names_the_same(a.facts, a.credentials->uri, a.question.request.request_uri()))
      return finish(auth_verdict::bad_request, "Digest URI Names Another Resource");
    result.aor = aor_of_username(a.credentials->username, a.question.realm).value_or(std::string{});
    if (a.question.only_claimed && result.aor != a.question.claimed) return finish(auth_verdict::forbidden, {});
  }
  // A username that makes no AoR is looked up as nobody's, so that it takes as long as any other.
  const std::string whom = result.aor.empty() ? "sip:@" + a.question.realm : result.aor;
  lookup_subscriber(env_, whom, [this, alive = std::weak_ptr(alive_), a = std::move(a), result = std::move(result),
                                 done = std::move(done)](subscriber_result found) mutable {
    if (alive.expired()) return;
    if (!found.who && !found.firm)
      result.verdict = auth_verdict::unavailable;
    else
      judge(a, found.who ? &*found.who : nullptr, result);
    if (result.verdict == auth_verdict::ok) result.who = std::move(found.who);
    count(result);
    done(std::move(result));
  });
}

void authenticator::challenge(const attempt& a, const subscriber* known, auth_result& result) {
  result.verdict = auth_verdict::challenge;
  const unix_ms now = env_.cluster.store().cluster_time();
  const std::string nonce = sip::make_nonce(*a.facts->keys, now, env_.random, a.question.realm);
  for (const sip::digest_algorithm algorithm : sip::algorithms_to_offer(a.setting, known ? &known->hashes : nullptr))
    result.challenges.push_back(sip::to_string(sip::digest_challenge{
        .realm = a.question.realm,
        .nonce = nonce,
        .algorithm = algorithm,
        .stale = result.stale ? sip::staleness::stale : sip::staleness::not_stale}));
  if (nonce.empty() || result.challenges.empty()) result.verdict = auth_verdict::unavailable; // no key yet
}

void authenticator::judge(attempt& a, const subscriber* known, auth_result& result) {
  if (!a.credentials) return challenge(a, known, result);
  const sip::digest_credentials& c = *a.credentials;
  // No downgrade to what was not offered.
  const auto offered = sip::algorithms_to_offer(a.setting, known ? &known->hashes : nullptr);
  if (std::ranges::find(offered, c.algorithm) == offered.end()) return challenge(a, known, result);

  const unix_ms now = env_.cluster.store().cluster_time();
  const bool right = sip::digest_verify(c, a.question.realm, a.question.request.method_name(), known ? &known->hashes : nullptr);
  const sip::nonce_check nonce = sip::check_nonce(c.nonce, *a.facts->keys, now, a.question.realm);
  switch (nonce.verdict) {
  case sip::nonce_verdict::stale:
  case sip::nonce_verdict::forged:
    // RFC 7616 §3.3: stale only if the digest was right. A wrong one gets one more try on a nonce of ours.
    result.stale = right;
    return challenge(a, known, result);
  case sip::nonce_verdict::fresh: break;
  }
  if (!right) {
    result.verdict = auth_verdict::forbidden;
    return;
  }
  const bool is_register = a.question.request.method_id() == sip::method::register_;
  result.nonce_made = nonce.made;
  result.used = {nonce.id, nonce.made, nonce.made + (milliseconds(sip::nonce_life) + kept_after_life).count(),
                 c.qop == sip::digest_qop::none ? 0 : c.nc,
                 is_register ? register_fingerprint(a.question.request) : std::string{}};
  if (c.qop != sip::digest_qop::none && c.nc == 0) { // RFC 7616 §3.4: counts begin with 1
    result.verdict = auth_verdict::bad_request;
    result.reason = "Nonce Count Is Zero";
    return;
  }
  if (!note_use(result, now) && !a.question.again) {
    replayed.add();
    result.stale = true;
    return challenge(a, known, result);
  }
  result.verdict = auth_verdict::ok;
}

// False: used before, by another request.
bool authenticator::note_use(auth_result& result, unix_ms now) {
  dht::store_api& store = env_.cluster.store();
  const ring_key key = dht::key_of_aor(result.aor);
  const facts_ptr facts = env_.cluster.facts();
  const std::uint64_t epoch = facts->view ? facts->view->stamp.hash : 0;
  auto answer = replays_.use(key, result.used, epoch, now);
  if (answer.verdict == replay_verdict::not_known) {
    replays_.load(key, store.read(dht::table::nonces, key), epoch, now);
    answer = replays_.use(key, result.used, epoch, now);
  }
  result.repeated = answer.verdict == replay_verdict::repeated;
  if (!answer.changes.empty())
    store.write(dht::table::nonces, key,
                [changes = std::move(answer.changes)](const std::vector<dht::record>&) mutable
                    -> std::expected<std::vector<dht::change>, int> { return std::move(changes); },
                [](dht::write_result written) {
                  if (!written.outcome) unwritten.add();
                });
  return result.repeated || answer.verdict == replay_verdict::fresh;
}

void authenticator::give_back(const auth_result& accepted_before) {
  replays_.forget(dht::key_of_aor(accepted_before.aor), accepted_before.used);
}

} // namespace skald::roles
