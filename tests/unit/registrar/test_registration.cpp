#include "bench.hpp"
#include "roles/registrar/answer.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::bench;

TEST_CASE("registrar: challenge, digest, 200: the binding is held, and given back with its expiry (RFC 3261 §10.3)") {
  bench::bench b;
  phone p;
  const sip::message challenge = b.send(p);
  CHECK(challenge.status() == 401);
  CHECK_FALSE(is_stale(challenge));
  CHECK(b.bindings().empty());

  const sip::message ok = b.register_with_digest(p);
  REQUIRE(ok.status() == 200);
  CHECK(contacts_in(ok) == std::vector<std::string>{"<sip:alice@192.0.2.1:5062>;expires=600"});
  CHECK(ok.first(sip::header::date) == "Tue, 14 Nov 2023 22:13:20 GMT");
  REQUIRE(b.bindings().size() == 1);
  const binding kept = b.bindings()[0];
  CHECK(kept.aor == "sip:alice@example.com");
  CHECK(kept.edge == "node1");
  CHECK(kept.path.size() == 1);
  CHECK(kept.expires == b.cluster.kept.now + 600'000);
  CHECK(kept.id == sip::binding_id("sip:alice@example.com", "sip:alice@192.0.2.1:5062"));
  CHECK(b.changed == std::vector<std::string>{"sip:alice@example.com"});
}

TEST_CASE("registrar: several contacts in one request, q and parameters come back, the highest q first (RFC 3261 §10.2.1.2)") {
  bench::bench b;
  phone p;
  p.contact = "<sip:alice@192.0.2.1:5062>;q=0.3, \"Desk\" <sip:alice@192.0.2.9>;q=0.8;expires=300;audio";
  const sip::message ok = b.register_with_digest(p);
  REQUIRE(ok.status() == 200);
  const auto contacts = contacts_in(ok);
  REQUIRE(contacts.size() == 2);
  CHECK(contacts[0] == "<sip:alice@192.0.2.9>;q=0.8;audio;expires=120"); // not where it came from: NAT
  CHECK(contacts[1] == "<sip:alice@192.0.2.1:5062>;q=0.3;expires=600");
}

TEST_CASE("registrar: a refresh renews the binding, a second contact stands beside it (RFC 3261 §10.2.4)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  b.seconds_pass(100);
  const sip::message refreshed = b.next(p);
  REQUIRE(refreshed.status() == 200);
  CHECK(contacts_in(refreshed) == std::vector<std::string>{"<sip:alice@192.0.2.1:5062>;expires=600"});
  b.seconds_pass(10);
  phone other;
  other.contact = "<sip:alice@192.0.2.1:5063>", other.source = *endpoint::parse("192.0.2.1:5063"), other.call_id = "call-2";
  CHECK(contacts_in(b.register_with_digest(other)).size() == 2);
  CHECK(b.bindings().size() == 2);
}

TEST_CASE("registrar: equal contacts by URI comparison are one binding, though they are written in two ways (RFC 3261 §19.1.4)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "<SIP:%61lice@192.0.2.1:5062;newparam=5>";
  REQUIRE(b.next(p).status() == 200);
  REQUIRE(b.bindings().size() == 1);
  CHECK(b.bindings()[0].contact == "SIP:%61lice@192.0.2.1:5062;newparam=5");
}

TEST_CASE("registrar: without Contact it only tells what is there (RFC 3261 §10.2.3)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  const std::size_t writes = b.cluster.kept.writes;
  p.contact.clear();
  const sip::message ok = b.next(p);
  REQUIRE(ok.status() == 200);
  CHECK(contacts_in(ok).size() == 1);
  CHECK(b.cluster.kept.writes == writes);
}

TEST_CASE("registrar: one contact is removed by expires=0, the other stays; what is not there is removed without complaint (RFC 3261 §10.2.2)") {
  bench::bench b;
  phone p;
  p.contact = "<sip:alice@192.0.2.1:5062>, <sip:alice@192.0.2.9>";
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "<sip:alice@192.0.2.9>;expires=0, <sip:alice@192.0.2.77>;expires=0";
  const sip::message ok = b.next(p);
  REQUIRE(ok.status() == 200);
  CHECK(contacts_in(ok) == std::vector<std::string>{"<sip:alice@192.0.2.1:5062>;expires=600"});
}

TEST_CASE("registrar: * with Expires 0 removes all (RFC 3261 §10.2.2)") {
  bench::bench b;
  phone p;
  p.contact = "<sip:alice@192.0.2.1:5062>, <sip:alice@192.0.2.9>";
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "*", p.expires = "0";
  const sip::message ok = b.next(p);
  REQUIRE(ok.status() == 200);
  CHECK(contacts_in(ok).empty());
  CHECK(b.bindings().empty());
}

TEST_CASE("registrar: * with another contact, or without Expires 0, is 400 and changes nothing (RFC 3261 §10.3 step 6)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "*", p.expires = "60";
  CHECK(b.next(p).status() == 400);
  p.contact = "*", p.expires.clear();
  CHECK(b.next(p).status() == 400);
  p.contact = "*, <sip:alice@192.0.2.9>", p.expires = "0";
  CHECK(b.next(p).status() == 400);
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("registrar: a binding that expired is not told any more") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  b.seconds_pass(601);
  p.contact.clear();
  ++p.cseq;
  CHECK(contacts_in(b.register_with_digest(p)).empty());
}

TEST_CASE("registrar: Path goes back to phones that support it, others register all the same (RFC 3327 §5.3)") {
  bench::bench b;
  phone p;
  p.path_below = "<sip:sbc.example.net;lr>";
  CHECK_FALSE(b.register_with_digest(p).has(sip::header::path));
  p.more = "Supported: path\r\n";
  const sip::message ok = b.next(p);
  REQUIRE(ok.values(sip::header::path).size() == 2);
  CHECK(ok.values(sip::header::path)[1] == "<sip:sbc.example.net;lr>");
  CHECK(b.bindings()[0].path.size() == 2);
}

TEST_CASE("registrar: Service-Route only if the cluster sets one (RFC 3608 §6.1)") {
  bench::bench b;
  phone p;
  CHECK_FALSE(b.register_with_digest(p).has(sip::header::service_route));
  b.configure([](settings& s) { s.service_route = "<sip:example.com;lr>"; });
  CHECK(b.next(p).first(sip::header::service_route) == "<sip:example.com;lr>");
}

TEST_CASE("registrar: the name or address of a node stands for the default domain (sip.md §1)") {
  bench::bench b;
  phone p;
  p.request_uri = "sip:node2.example.com", p.to = "sip:alice@198.51.100.1";
  CHECK(b.register_with_digest(p).status() == 200);
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("registrar: another domain of the cluster has its own subscribers") {
  bench::bench b;
  b.configure([](settings& s) { s.domains.push_back("example.org"); });
  b.add_subscriber(make_subscriber("sip:alice@example.org", "other", 1000));
  phone p;
  p.domain = "example.org", p.request_uri = "sip:example.org";
  CHECK(b.register_with_digest(p).status() == 403); // example.com's password
  p.password = "other", ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 200);
  CHECK(b.bindings().empty());
  CHECK(b.bindings("sip:alice@example.org").size() == 1);
}

TEST_CASE("registrar: a date is written as RFC 3261 §20.17 wants it") {
  CHECK(sip_date(1'289'690'940'000) == "Sat, 13 Nov 2010 23:29:00 GMT");
  CHECK(sip_date(1'709'164'799'999) == "Wed, 28 Feb 2024 23:59:59 GMT");
}
