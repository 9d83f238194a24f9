#include "cluster.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

struct trust_bench {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  phone& carol = c.add_stranger("carol", "203.0.113.9:5060");
  trust_bench() {
    alice.register_at(n);
    bob.register_at(n);
  }
  int status_of(phone& p) {
    const auto all = p.statuses();
    p.clear();
    if (all.empty()) return 0;
    return all.back();
  }
};

} // namespace

TEST_CASE("trust: a subscriber who says another's From is refused; anonymous is not (RFC 3323)") {
  trust_bench t;
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.from = "<sip:bob@example.com>"});
  CHECK(t.status_of(t.alice) == 403);
  CHECK(t.bob.inbox.empty());
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com",
                  {.from = "\"Anonymous\" <sip:anonymous@anonymous.invalid>", .more = "Privacy: id\r\n"});
  const auto m = t.bob.take_request("MESSAGE");
  REQUIRE_MESSAGE(m, t.c.trace);
  CHECK_FALSE(m->has(sip::header::p_asserted_identity)); // RFC 3325 §7
}

TEST_CASE("trust: a flow over which a binding was registered is a subscriber's, whatever its From says") {
  trust_bench t;
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.from = "<sip:carol@elsewhere.net>", .challenge = false});
  CHECK(t.status_of(t.alice) == 407);
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.from = "<sip:carol@elsewhere.net>"});
  CHECK(t.status_of(t.alice) == 403);
}

TEST_CASE("trust: a stranger who says a From of ours is challenged, and cannot answer") {
  trust_bench t;
  t.carol.request(t.n, "MESSAGE", "sip:bob@example.com", {.from = "<sip:alice@example.com>", .challenge = false});
  CHECK(t.status_of(t.carol) == 407);
  CHECK(t.bob.inbox.empty());
}

TEST_CASE("trust: a forged P-Asserted-Identity is cut off (RFC 3325 §5)") {
  trust_bench t;
  t.carol.request(t.n, "MESSAGE", "sip:bob@example.com", {.more = "P-Asserted-Identity: <sip:boss@example.com>\r\n"});
  const auto m = t.bob.take_request("MESSAGE");
  REQUIRE(m);
  CHECK_FALSE(m->has(sip::header::p_asserted_identity));
}

TEST_CASE("trust: never an open relay") {
  trust_bench t;
  t.carol.request(t.n, "INVITE", "sip:dan@far.example");
  CHECK(t.status_of(t.carol) == 403);
}

TEST_CASE("trust: inbound peers alone, if the domain says so") {
  testing::cluster c{1, [](settings& s) {
                       s.inbound = inbound_policy::peers;
                       s.peer_addresses = {*ip_address::parse("203.0.113.10")};
                     }};
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  phone& carol = c.add_stranger("carol", "203.0.113.9:5060");
  phone& peer = c.add_stranger("dan", "203.0.113.10:5060");
  bob.register_at(c.node(0));
  carol.request(c.node(0), "MESSAGE", bob.aor());
  CHECK(carol.take_response(403));
  peer.request(c.node(0), "MESSAGE", bob.aor());
  CHECK(bob.take_request("MESSAGE"));
}

TEST_CASE("trust: a peer by TLS name counts while its certificate names it, is in force, and the settings name it (RFC 5922 §7)") {
  testing::cluster c{1, [](settings& s) {
                       s.inbound = inbound_policy::peers;
                       s.peer_names = {"carrier.example", "sbc.example"};
                     }};
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  phone& peer = c.add_stranger("dan", "203.0.113.10:5060");
  bob.register_at(c.node(0));
  const std::string said = "P-Asserted-Identity: <sip:dan@carrier.example>\r\n";
  const auto believed = [&] {
    bob.clear(), peer.clear();
    peer.request(c.node(0), "MESSAGE", bob.aor(), {.more = said});
    const auto m = bob.take_request("MESSAGE");
    CHECK(m.has_value() == !peer.take_response(403).has_value());
    return m && m->has(sip::header::p_asserted_identity);
  };
  const auto certificate = [&](std::vector<std::string> names, unix_ms lasts) {
    return std::make_shared<sip::certified_names>(std::move(names), c.clock.wall() + lasts);
  };
  CHECK_FALSE(believed());
  peer.certified = certificate({"other.example", "carrier.example"}, 60'000);
  CHECK(believed());
  peer.certified = certificate({"other.example", "x.carrier.example", "example"}, 60'000);
  CHECK_FALSE(believed());
  peer.certified = certificate({"sbc.example"}, 60'000);
  CHECK(believed());
  c.advance(seconds(61)); // it ends, though its connection does not
  CHECK_FALSE(believed());
  peer.certified = certificate({"sbc.example"}, 600'000);
  CHECK(believed());
  c.set_facts([](cluster_facts& f) {
    auto s = std::make_shared<settings>(*f.config);
    s->peer_names = {"carrier.example"};
    f.config = s;
  });
  CHECK_FALSE(believed());
}

TEST_CASE("trust: what goes to a peer's TLS name has to find that peer there; other servers are no peers") {
  testing::cluster c{1, [](settings& s) { s.peer_names = {"sbc.example"}; }};
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  alice.register_at(c.node(0));
  const auto opened = [&](const std::string& host, sip::transport t) {
    c.dns[host] = {{t, *endpoint::parse("203.0.113.9:5061"), t == sip::transport::tls ? host : std::string()}};
    alice.request(c.node(0), "MESSAGE", "sip:dan@" + host);
    REQUIRE_FALSE(c.node(0).opened.empty());
    return c.node(0).opened.back();
  };
  CHECK(opened("SBC.example", sip::transport::tls).trusted_peer);
  CHECK_FALSE(opened("other.example", sip::transport::tls).trusted_peer);
  CHECK_FALSE(opened("sbc.example", sip::transport::tcp).trusted_peer); // nothing there proves a name
}

TEST_CASE("trust: REGISTER for another domain is 403, for a user of another 404") {
  trust_bench t;
  t.carol.request(t.n, "REGISTER", "sip:elsewhere.net", {.to = "<sip:carol@elsewhere.net>"});
  CHECK(t.status_of(t.carol) == 403);
  t.carol.request(t.n, "REGISTER", "sip:example.com", {.to = "<sip:carol@elsewhere.net>"});
  CHECK(t.status_of(t.carol) == 404);
}

TEST_CASE("trust: an unknown user and a wrong password look the same") {
  trust_bench t;
  t.alice.password = "wrong";
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com");
  CHECK(t.status_of(t.alice) == 403);
  phone& ghost = t.c.add_stranger("ghost", "192.0.2.66:5060", "example.com");
  ghost.request(t.n, "MESSAGE", "sip:bob@example.com");
  CHECK(t.status_of(ghost) == 403);
}

TEST_CASE("trust: a preloaded Route that names us is dropped, one with a token is 403") {
  trust_bench t;
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.more = "Route: <sip:10.0.0.1;lr>\r\n"});
  CHECK(t.bob.take_request("MESSAGE"));
  t.alice.clear();
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  const std::string rr = header_of(*invite, sip::header::record_route);
  t.alice.clear();
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.more = "Route: " + rr + "\r\n", .challenge = false});
  CHECK(t.status_of(t.alice) == 403);
}

TEST_CASE("trust: a token opens only the dialog it was made for") {
  trust_bench t;
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 200);
  t.c.settle();
  auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  sip::message other = *ok;
  other.set(sip::header::call_id, "another-dialog");
  t.alice.in_dialog_as_caller(t.n, other, "BYE");
  CHECK(t.status_of(t.alice) == 481);
  CHECK(t.bob.count("BYE") == 0);
  // A stranger who has seen a Route cannot use it for a call of his own.
  t.carol.in_dialog_as_caller(t.n, other, "INFO");
  CHECK(t.status_of(t.carol) == 481);
}

TEST_CASE("trust: a callee that challenges with our realm gets nothing signed") {
  trust_bench t;
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.alice.clear();
  t.bob.respond(*invite, 407, "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"evil\"\r\n");
  t.c.settle();
  const auto answer = t.alice.take_response(500);
  REQUIRE(answer);
  CHECK(answer->serialize().find("evil") == std::string::npos);
}

TEST_CASE("trust: in a dialog credentials for our realms do not leave either") {
  trust_bench t;
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  t.bob.respond(*invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  t.alice.in_dialog_as_caller(t.n, *ok, "INFO",
                              "Proxy-Authorization: Digest username=\"alice\", realm=\"example.com\", nonce=\"n\"\r\n");
  const auto info = t.bob.take_request("INFO");
  REQUIRE(info);
  CHECK_FALSE(info->has(sip::header::proxy_authorization));
}

TEST_CASE("trust: a request in a dialog without our Route goes only from that party's flow (sip.md §3)") {
  trust_bench t;
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  t.bob.respond(*invite, 200);
  t.c.settle();
  auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  ok->remove(sip::header::record_route);
  t.carol.tag = "talice";
  t.carol.in_dialog_as_caller(t.n, *ok, "BYE");
  CHECK(t.status_of(t.carol) == 481);
  t.alice.in_dialog_as_caller(t.n, *ok, "BYE");
  CHECK_MESSAGE(t.bob.take_request("BYE"), t.c.trace);
}

TEST_CASE("trust: a foreign party's request without our Route comes from where its Contact is, or is 481") {
  trust_bench t;
  phone& thief = t.c.add_stranger("thief", "203.0.113.66:5060");
  t.carol.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 200);
  t.c.settle();
  auto ok = t.carol.take_response(200);
  REQUIRE(ok);
  ok->remove(sip::header::record_route);
  thief.tag = t.carol.tag;
  thief.in_dialog_as_caller(t.n, *ok, "BYE");
  CHECK(t.status_of(thief) == 481);
  t.carol.in_dialog_as_caller(t.n, *ok, "BYE");
  CHECK_MESSAGE(t.bob.take_request("BYE"), t.c.trace);
}

TEST_CASE("trust: callees that do not exist are 404; hidden from outsiders, if wished; in doubt 480") {
  for (const bool hide : {false, true}) {
    testing::cluster c{1, [hide](settings& s) { s.hide_users = hide; }};
    phone& alice = c.add_phone("alice", "192.0.2.1:5062");
    phone& carol = c.add_stranger("carol", "203.0.113.9:5060");
    alice.register_at(c.node(0));
    carol.request(c.node(0), "MESSAGE", "sip:nobody@example.com");
    CHECK(carol.take_response(hide ? 480 : 404));
    alice.request(c.node(0), "MESSAGE", "sip:nobody@example.com");
    CHECK(alice.take_response(404));
    c.store.firm = false;
    carol.request(c.node(0), "MESSAGE", "sip:nobody@example.com");
    CHECK(carol.take_response(480));
  }
}
