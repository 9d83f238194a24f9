#include "bench.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::bench;

TEST_CASE("order: a CSeq that is not above the binding's is refused, and nothing changes (RFC 3261 §10.3 step 7)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  b.seconds_pass(10);
  p.cseq = 1, ++p.nc, p.expires = "0";
  const sip::message m = b.send(p);
  CHECK(m.status() == 500);
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("order: it binds all contacts of a request, and * too: all or nothing (RFC 3261 §10.3 step 6)") {
  bench::bench b;
  phone p;
  p.cseq = 10;
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.cseq = 5, ++p.nc, p.contact = "<sip:alice@192.0.2.9>, <sip:alice@192.0.2.1:5062>";
  CHECK(b.send(p).status() == 500);
  CHECK(b.bindings().size() == 1);
  p.cseq = 6, ++p.nc, p.contact = "*", p.expires = "0";
  CHECK(b.send(p).status() == 500);
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("order: another Call-ID is bound by no order (RFC 3261 §10.3 step 7)") {
  bench::bench b;
  phone p;
  p.cseq = 100;
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.cseq = 0, p.call_id = "call-2";
  CHECK(b.next(p).status() == 200);
  CHECK(b.bindings()[0].call_id == "call-2");
}

TEST_CASE("order: what a former owner left of this very request does not stand against it, and of a later one does") {
  bench::bench b;
  phone p;
  p.cseq = 10;
  REQUIRE(b.register_with_digest(p).status() == 200);
  const auto before = b.bindings()[0].updated;
  b.seconds_pass(1);
  ++p.nc; // the former owner has given its use of the nonce back
  CHECK(b.send(p).status() == 500);
  b.again = true, ++p.nc;
  CHECK(b.send(p).status() == 200);
  REQUIRE(b.bindings().size() == 1);
  CHECK(b.bindings()[0].updated > before);
  --p.cseq, ++p.nc;
  CHECK(b.send(p).status() == 500);
}

TEST_CASE("order: a phone that rebooted counts from 1 again; its nonce is newer than the binding (sip.md §4)") {
  bench::bench b;
  phone p;
  p.cseq = 4711;
  REQUIRE(b.register_with_digest(p).status() == 200);
  b.seconds_pass(30);
  p.cseq = 1;
  CHECK(b.register_with_digest(p).status() == 200);
  CHECK(b.bindings()[0].cseq == 2);
}

TEST_CASE("store: not acknowledged, overloaded, not owner, not active: 500 with Retry-After, never 503 (sip.md §7)") {
  for (const auto e : {dht::write_error::not_acknowledged, dht::write_error::overloaded, dht::write_error::not_owner,
                       dht::write_error::not_active}) {
    bench::bench b;
    phone p;
    b.cluster.kept.fail = e;
    const sip::message m = b.register_with_digest(p);
    CHECK(m.status() == 500);
    CHECK(m.has(sip::header::retry_after));
    CHECK(b.changed.empty());
  }
}

TEST_CASE("store: the 200 waits for the acknowledgement, and is given on the worker") {
  bench::bench b;
  phone p;
  p.nonce = nonce_in(b.send(p));
  p.nc = 1, ++p.cseq;
  b.cluster.kept.held = true;
  auto request = sip::message::parse(b.request_of(p));
  int answered = 0;
  b.registrar.handle(std::move(*request), false, [&](sip::message m, bool) { answered = m.status(); });
  CHECK(answered == 0);
  const std::size_t posted = b.flows.posted;
  b.cluster.kept.release();
  CHECK(answered == 200);
  CHECK(b.flows.posted == posted + 1);
}

TEST_CASE("store: a registrar that is gone is not called back") {
  bench::bench b;
  phone p;
  p.nonce = nonce_in(b.send(p));
  p.nc = 1, ++p.cseq;
  b.cluster.kept.held = true;
  int answered = 0;
  {
    registrar short_lived(b.env, b.auth);
    short_lived.handle(*sip::message::parse(b.request_of(p)), false, [&](sip::message m, bool) { answered = m.status(); });
  }
  b.cluster.kept.release();
  CHECK(answered == 0);
}

TEST_CASE("store: bindings in doubt are not told as an empty list, a subscriber in doubt not as none (consistency.md, promise 2)") {
  bench::bench b;
  phone p;
  p.contact.clear();
  p.nonce = nonce_in(b.send(p));
  p.nc = 1, ++p.cseq;
  b.cluster.kept.answers = false, b.cluster.kept.firm = false;
  const sip::message m = b.send(p);
  CHECK(m.status() == 500);
  CHECK(m.has(sip::header::retry_after));
  phone stranger;
  stranger.user = "nobody";
  CHECK(b.send(stranger).status() == 500);
  b.cluster.kept.firm = true;
  CHECK(b.send(stranger).status() == 401);
}

TEST_CASE("repeat: the same REGISTER through another edge gets the same answer and writes nothing (sip.md §3)") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  const binding before = b.bindings()[0];
  b.seconds_pass(2);
  p.edge = node(2).head();
  const sip::message again = b.send(p);
  CHECK(again.status() == 200);
  CHECK(contacts_in(again) == std::vector<std::string>{"<sip:alice@192.0.2.1:5062>;expires=598"});
  CHECK(b.bindings()[0].edge == before.edge);
  CHECK(b.bindings()[0].expires == before.expires);
  CHECK(b.changed.size() == 1);
}

TEST_CASE("repeat: what was undone since does not come back by an old REGISTER") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  const phone first = p;
  p.contact = "*", p.expires = "0";
  REQUIRE(b.next(p).status() == 200);
  CHECK(b.send(first).status() == 500);
  CHECK(b.bindings().empty());
}

TEST_CASE("repeat: a REGISTER whose effect an owner's death undid is carried out, not answered by the binding before it") {
  bench::bench b;
  phone p;
  REQUIRE(b.register_with_digest(p).status() == 200);
  const auto before = b.cluster.kept.tables;
  p.contact = "<sip:alice@192.0.2.1:5070>";
  b.seconds_pass(2);
  REQUIRE(b.next(p).status() == 200);
  b.cluster.kept.tables = before; // the copy that took over has not seen it, though it knows of the nonce's use
  REQUIRE(b.send(p).status() == 200);
  CHECK(std::ranges::any_of(b.bindings(), [](const binding& x) { return x.contact.contains(":5070"); }));
}

TEST_CASE("repeat: a REGISTER that was not acknowledged is taken as new when it comes again") {
  bench::bench b;
  phone p;
  b.cluster.kept.fail = dht::write_error::not_acknowledged;
  REQUIRE(b.register_with_digest(p).status() == 500);
  b.cluster.kept.fail.reset();
  CHECK(b.send(p).status() == 200);
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("former flows: a binding knows for 5 minutes by which flows it was registered before, three of them (sip.md §6)") {
  bench::bench b;
  phone p;
  const auto to_edge = [&](std::uint8_t n) {
    p.edge = node(n).head();
    CHECK(b.next(p).status() == 200);
  };
  REQUIRE(b.register_with_digest(p).status() == 200);
  CHECK(b.bindings()[0].former.empty());
  to_edge(1); // a refresh
  CHECK(b.bindings()[0].former.empty());
  const binding first = b.bindings()[0];
  b.seconds_pass(10);
  to_edge(2);
  REQUIRE(b.bindings()[0].former.size() == 1);
  CHECK(b.bindings()[0].former[0] == former_flow{first.id, first.path[0], b.cluster.kept.now + 300'000});
  b.seconds_pass(10);
  to_edge(2); // a refresh keeps what is young
  CHECK(b.bindings()[0].former.size() == 1);
  for (const std::uint8_t n : {3, 4, 5}) {
    b.seconds_pass(10);
    to_edge(n);
  }
  const auto former = b.bindings()[0].former;
  REQUIRE(former.size() == 3); // the first was the oldest
  for (const former_flow& f : former) CHECK(f.path != first.path[0]);
  CHECK(former[0].until > former[1].until);
  CHECK(former[1].until > former[2].until);
  b.seconds_pass(291);
  p.nonce.clear();
  REQUIRE(b.register_with_digest(p).status() == 200);
  CHECK(b.bindings()[0].former.size() == 1);
}

TEST_CASE("former flows: a binding that takes the place of another of its instance knows that one's flow") {
  bench::bench b;
  phone p;
  p.contact = "<sip:alice@192.0.2.1:5062>;+sip.instance=\"<urn:uuid:1>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  const binding first = b.bindings()[0];
  p.contact = "<sip:alice@192.0.2.9:5062>;+sip.instance=\"<urn:uuid:1>\"";
  p.edge = node(2).head();
  REQUIRE(b.next(p).status() == 200);
  REQUIRE(b.bindings().size() == 1);
  const binding now = b.bindings()[0];
  CHECK(now.id != first.id);
  REQUIRE(now.former.size() == 1);
  CHECK(now.former[0].binding_id == first.id);
  CHECK(now.former[0].path == first.path[0]);
}
