#include "bench.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::bench;

namespace {

std::vector<sip::digest_algorithm> offered(const sip::message& m) {
  std::vector<sip::digest_algorithm> out;
  for (const std::string_view v : m.values(sip::header::www_authenticate))
    if (const auto c = sip::parse_digest_challenge(v)) out.push_back(c->algorithm);
  return out;
}

} // namespace

TEST_CASE("digest: the challenge is for the AoR's domain, MD5 alone by default (RFC 7616 §3.3, sip.md §3)") {
  bench::bench b;
  const sip::message m = b.send(phone{});
  REQUIRE(m.values(sip::header::www_authenticate).size() == 1);
  const auto c = sip::parse_digest_challenge(m.values(sip::header::www_authenticate)[0]);
  REQUIRE(c.has_value());
  CHECK(c->realm == "example.com");
  CHECK(c->algorithm == sip::digest_algorithm::md5);
  CHECK(c->qop_auth);
}

TEST_CASE("digest: a request that comes twice is challenged twice, with one tag (RFC 3261 §8.2.7)") {
  bench::bench b;
  phone p;
  const auto tag = [](const sip::message& m) { return std::string(m.line(sip::header::to).value_or("")); };
  const std::string first = tag(b.send(p)), again = tag(b.send(p));
  CHECK(first.find(";tag=") != std::string::npos);
  CHECK(again == first);
  ++p.cseq;
  CHECK(tag(b.send(p)) != first);
}

TEST_CASE("digest: unknown user and wrong password look the same: challenge, then 403 (sip.md §3)") {
  bench::bench b;
  phone wrong, unknown;
  wrong.password = "guess";
  unknown.user = "nobody";
  for (phone* p : {&wrong, &unknown}) {
    const sip::message first = b.send(*p);
    CHECK(first.status() == 401);
    CHECK(offered(first).size() == 1);
    const sip::message second = b.register_with_digest(*p);
    CHECK(second.status() == 403);
    CHECK_FALSE(second.has(sip::header::www_authenticate));
  }
}

TEST_CASE("digest: user and user@realm are both taken as username") {
  bench::bench b;
  phone p;
  p.username = "alice@example.com";
  CHECK(b.register_with_digest(p).status() == 200);
  p.username = "alice@elsewhere.com", ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 403);
}

TEST_CASE("digest: the domain's algorithms are offered in their order, each works (RFC 8760 §2.4)") {
  bench::bench b;
  b.configure([](settings& s) { s.digest_algorithms = {"SHA-256", "MD5"}; });
  phone p;
  CHECK(offered(b.send(p)) == std::vector{sip::digest_algorithm::sha256, sip::digest_algorithm::md5});
  p.algorithm = sip::digest_algorithm::sha256, ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 200);
  p.algorithm = sip::digest_algorithm::md5, ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 200);
}

TEST_CASE("digest: what was not offered is not taken: a challenge again, no downgrade") {
  bench::bench b;
  b.configure([](settings& s) { s.digest_algorithms = {"SHA-256"}; });
  phone p; // MD5
  const sip::message m = b.register_with_digest(p);
  CHECK(m.status() == 401);
  CHECK(b.bindings().empty());
}

TEST_CASE("digest: a subscriber with one kind of hash is offered that one") {
  bench::bench b;
  phone p;
  p.user = "carol", p.algorithm = sip::digest_algorithm::sha256;
  const std::string ha1 = sip::digest_ha1(sip::digest_algorithm::sha256, "carol", "example.com", "wonder");
  b.add_subscriber(*make_subscriber_from_ha1("sip:carol@example.com", "", ha1, 1000));
  CHECK(offered(b.send(p)) == std::vector{sip::digest_algorithm::sha256});
  CHECK(b.register_with_digest(p).status() == 200);
}

TEST_CASE("digest: an alias has no password of its own") {
  bench::bench b;
  subscriber s;
  s.aor = "sip:info@example.com", s.alias_of = "sip:alice@example.com";
  b.add_subscriber(s);
  phone p;
  p.user = "info";
  CHECK(b.register_with_digest(p).status() == 403);
}

TEST_CASE("digest: an old nonce with a right digest is stale=true, with a wrong one never (RFC 7616 §3.3)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  b.seconds_pass(301);
  const sip::message old = b.next(p);
  CHECK(old.status() == 401);
  CHECK(is_stale(old));
  p.password = "guess";
  const sip::message wrong = b.next(p);
  CHECK(wrong.status() == 401);
  CHECK_FALSE(is_stale(wrong));
}

TEST_CASE("digest: a nonce that is not the cluster's, with a right digest, is stale=true too") {
  bench::bench b;
  phone p;
  p.nonce = "made-by-another-server", p.nc = 1;
  const sip::message m = b.send(p);
  CHECK(m.status() == 401);
  CHECK(is_stale(m));
}

TEST_CASE("digest: a used nonce count is stale=true; the next and a skipped one are taken (sip.md §3)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  ++p.cseq;
  p.contact = "<sip:mallory@203.0.113.66>"; // recorded credentials, another contact
  const sip::message replayed = b.send(p);
  CHECK(replayed.status() == 401);
  CHECK(is_stale(replayed));
  CHECK(b.bindings().size() == 1);
  p.contact = "<sip:alice@192.0.2.1:5062>", p.nc = 5;
  CHECK(b.send(p).status() == 200);
  p.nc = 3, ++p.cseq;
  CHECK(b.send(p).status() == 200); // out of order, not used
}

TEST_CASE("digest: the next owner knows what was used, by the nonces table (sip.md §3)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  CHECK(b.cluster.kept.nonce_writes == 1);
  replay_memory empty;
  authenticator next_auth(b.env, empty);
  registrar next(b.env, next_auth);
  ++p.cseq, p.contact = "<sip:mallory@203.0.113.66>";
  std::optional<sip::message> answer;
  next.handle(*sip::message::parse(b.request_of(p)), false, [&](sip::message m, bool) { answer = std::move(m); });
  REQUIRE(answer.has_value());
  CHECK(answer->status() == 401);
  CHECK(is_stale(*answer));
}

TEST_CASE("digest: without qop a nonce is good for one request (RFC 7616 §3.4.1)") {
  bench::bench b;
  phone p;
  p.qop.clear();
  CHECK(b.register_with_digest(p).status() == 200);
  ++p.cseq;
  const sip::message again = b.send(p);
  CHECK(again.status() == 401);
  CHECK(is_stale(again));
}

TEST_CASE("digest: uri has to name the Request-URI's user and host; auth-int and a zero count are 400 (RFC 7616 §3.4)") {
  bench::bench b;
  phone p;
  p.digest_uri = "sip:example.net";
  CHECK(b.register_with_digest(p).status() == 400);
  p.digest_uri = "sip:example.com:5060;transport=tcp", ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 200);
  p.digest_uri = "sip:198.51.100.1:5060", ++p.cseq; // a node's address stands for the domain (sip.md §1)
  CHECK(b.register_with_digest(p).status() == 200);
  p.digest_uri = "sip:192.0.2.99", ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 400);
  p.digest_uri = "sip:someone@example.com", ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 400);
  p.digest_uri.reset(), ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 200);
  p.qop = "auth-int";
  CHECK(b.next(p).status() == 400);
  p.qop = "auth", p.nc = 0, ++p.cseq;
  CHECK(b.send(p).status() == 400);
}

TEST_CASE("digest: credentials for another realm are none of ours (RFC 3261 §22.3)") {
  bench::bench b;
  phone p;
  p.more = "Authorization: Digest username=\"alice\", realm=\"example.net\", nonce=\"n\", uri=\"sip:example.com\", "
           "response=\"0123456789abcdef0123456789abcdef\"\r\n";
  CHECK(b.send(p).status() == 401);
  CHECK(b.register_with_digest(p).status() == 200);
  CHECK(named_by_credentials(*sip::message::parse(b.request_of(p)), challenge_kind::www, "example.com") == "sip:alice@example.com");
  CHECK_FALSE(named_by_credentials(*sip::message::parse(b.request_of(p)), challenge_kind::proxy, "example.com").has_value());
}

TEST_CASE("digest: others than REGISTER are challenged 407, answered by Proxy-Authorization, and never taken twice") {
  bench::bench b;
  const auto invite = [&](const std::string& credentials) {
    return *sip::message::parse("INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
                                "From: <sip:alice@example.com>;tag=f\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\n"
                                "CSeq: 1 INVITE\r\n" + credentials + "\r\n");
  };
  const auto check = [&](const sip::message& m) {
    std::optional<auth_result> out;
    b.auth.check({m, "example.com", challenge_kind::proxy, "sip:alice@example.com", false},
                 [&](auth_result r) { out = std::move(r); });
    REQUIRE(out.has_value());
    return std::move(*out);
  };
  const auth_result first = check(invite(""));
  REQUIRE(first.verdict == auth_verdict::challenge);
  const sip::message challenge = refusal(invite(""), challenge_kind::proxy, first, "t");
  CHECK(challenge.status() == 407);
  REQUIRE(challenge.has(sip::header::proxy_authenticate));

  sip::digest_credentials c;
  c.username = "alice", c.realm = "example.com", c.uri = "sip:bob@example.com";
  c.nonce = sip::parse_digest_challenge(first.challenges[0])->nonce;
  c.qop = sip::digest_qop::auth, c.nc = 1, c.nc_text = "00000001", c.cnonce = "x";
  const std::string response =
      sip::digest_response(c, sip::digest_ha1(c.algorithm, "alice", "example.com", "wonder"), "INVITE");
  const std::string line = "Proxy-Authorization: Digest username=\"alice\", realm=\"example.com\", nonce=\"" + c.nonce +
                           "\", uri=\"" + c.uri + "\", response=\"" + response + "\", qop=auth, nc=00000001, cnonce=\"x\"\r\n";
  const auth_result ok = check(invite(line));
  REQUIRE(ok.verdict == auth_verdict::ok);
  CHECK(ok.aor == "sip:alice@example.com");
  REQUIRE(ok.who.has_value());
  const auth_result again = check(invite(line));
  CHECK(again.verdict == auth_verdict::challenge);
  CHECK(again.stale);
}

TEST_CASE("digest: before the cluster has a key nobody is challenged in vain: 500 with Retry-After") {
  bench::bench b;
  const std::string request = b.request_of(phone{}); // its Path is sealed with the key
  auto facts = std::make_shared<cluster_facts>(*b.cluster.now);
  facts->keys = std::make_shared<key_ring>();
  b.cluster.now = facts;
  std::optional<sip::message> answer;
  b.registrar.handle(*sip::message::parse(request), false, [&](sip::message m, bool) { answer = std::move(m); });
  REQUIRE(answer.has_value());
  CHECK(answer->status() == 500);
}
