#include "bench.hpp"
#include "roles/registrar/grant.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::bench;

TEST_CASE("registrar: a Request-URI that is not ours is 403, a To that is not 404 (sip.md §3)") {
  bench::bench b;
  phone p;
  p.request_uri = "sip:example.net";
  CHECK(b.send(p).status() == 403);
  p.request_uri = "sip:example.com", p.to = "sip:alice@example.net";
  CHECK(b.send(p).status() == 404);
  p.to = "sip:example.com"; // no user: nobody's
  CHECK(b.send(p).status() == 404);
}

TEST_CASE("registrar: what it does not know in Require is named in 420 (RFC 3261 §8.2.2.3); path and outbound it knows") {
  bench::bench b;
  phone p;
  p.more = "Require: path, gruu, x-new, Outbound\r\n";
  const sip::message m = b.send(p);
  CHECK(m.status() == 420);
  CHECK(m.line(sip::header::unsupported) == "gruu, x-new");
}

TEST_CASE("registrar: another user's credentials do not open this AoR (RFC 3261 §10.3 step 4)") {
  bench::bench b;
  b.add_subscriber(make_subscriber("sip:bob@example.com", "builder", 1000));
  phone p;
  p.username = "bob", p.password = "builder";
  CHECK(b.register_with_digest(p).status() == 403);
  CHECK(b.bindings().empty());
}

TEST_CASE("registrar: below the shortest grant it is 423 with Min-Expires, for any one of the contacts (RFC 3261 §10.3 step 7)") {
  bench::bench b;
  phone p;
  p.expires = "59";
  const sip::message m = b.register_with_digest(p);
  CHECK(m.status() == 423);
  CHECK(m.first(sip::header::min_expires) == "60");
  p.expires = "600", p.contact = "<sip:alice@192.0.2.1:5062>, <sip:alice@192.0.2.9>;expires=1";
  CHECK(b.next(p).status() == 423);
  CHECK(b.bindings().empty()); // all or nothing
  p.contact = "<sip:alice@192.0.2.1:5062>", p.expires = "60";
  CHECK(b.next(p).status() == 200);
}

TEST_CASE("registrar: no expiry, or one that is no number, counts as an hour; more than the longest grant is that (RFC 3261 §10.2.1.1)") {
  bench::bench b;
  phone p;
  p.expires.clear();
  CHECK(contacts_in(b.register_with_digest(p))[0].ends_with(";expires=3600"));
  p.expires = "soon";
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=3600"));
  p.expires = "4294967295";
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=3600"));
  p.expires = "99999999999999";
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=3600"));
}

TEST_CASE("registrar: contacts that are malformed, no SIP URIs, too long or too many are 400") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  std::string many = "<sip:alice@192.0.2.1:1>";
  for (int i = 2; i < 20; ++i) many += ", <sip:alice@192.0.2.1:" + std::to_string(i) + ">";
  for (const std::string& contact :
       {std::string("<sip:alice@>"), std::string("<http://example.com/>"), std::string("<tel:+4930123>"), many,
        "<sip:" + std::string(2000, 'a') + "@192.0.2.1>"}) {
    p.contact = contact;
    CHECK_MESSAGE(b.next(p).status() == 400, contact);
  }
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("registrar: an AoR has at most contacts_per_aor_max contacts; refreshes go on, a new one is asked to come back") {
  bench::bench b;
  phone p;
  int port = 6000;
  REQUIRE(b.register_with_digest(p).status() == 200);
  for (std::size_t i = 1; i < contacts_per_aor_max; ++i) {
    p.contact = "<sip:alice@192.0.2.1:" + std::to_string(port++) + ">";
    REQUIRE(b.next(p).status() == 200);
  }
  CHECK(b.bindings().size() == contacts_per_aor_max);
  p.contact = "<sip:alice@192.0.2.1:7000>";
  const sip::message m = b.next(p);
  CHECK(m.status() == 500);
  CHECK(m.has(sip::header::retry_after));
  p.contact = "<sip:alice@192.0.2.1:5062>";
  CHECK(b.next(p).status() == 200);
  p.contact = "<sip:alice@192.0.2.1:5062>;expires=0, <sip:alice@192.0.2.1:7000>"; // one goes, one comes
  CHECK(b.next(p).status() == 200);
}

TEST_CASE("grants: UDP behind NAT 120 s, a stream behind NAT 600 s, else as asked (sip.md §4)") {
  bench::bench b;
  phone p;
  p.expires = "3600";
  CHECK(contacts_in(b.register_with_digest(p))[0].ends_with(";expires=3600"));
  p.source = *endpoint::parse("192.0.2.1:40000"); // another port than Contact says
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=120"));
  p.source = *endpoint::parse("203.0.113.7:5062");
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=120"));
  p.transport = sip::transport::tcp;
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=600"));
  p.source = *endpoint::parse("192.0.2.1:40000"); // a stream's source port says nothing
  CHECK(contacts_in(b.next(p))[0].ends_with(";expires=3600"));
}

TEST_CASE("grants: a private address in Contact is behind NAT, a host name too") {
  bench::bench b;
  phone p;
  p.expires = "3600", p.contact = "<sip:alice@10.0.0.5:5062>", p.source = *endpoint::parse("10.0.0.5:5062");
  CHECK(contacts_in(b.register_with_digest(p))[0].ends_with(";expires=120"));
  p.contact = "<sip:alice@pc33.invalid>";
  CHECK(contacts_in(b.next(p)).size() == 2);
  CHECK(behind_nat(*sip::parse_uri("sip:alice@pc33.invalid"), {}));
}

TEST_CASE("grants: a phone that keeps its flow by itself is granted what it asks (RFC 6223 §4.1)") {
  bench::bench b;
  phone p;
  p.expires = "3600", p.source = *endpoint::parse("203.0.113.7:40000"), p.via_more = ";keep";
  CHECK(contacts_in(b.register_with_digest(p))[0].ends_with(";expires=3600"));
}
