// In a dialog, and the flow of the other party is gone (sip.md §6): its newest flow, its Contact, or 500.
#include "takeover.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

struct in_call : takeover {
  sip::message invite = ring();
  sip::message ok;

  explicit in_call(std::string_view contact = {}) : takeover(4), ok(answered(contact)) {}

  sip::message answered(std::string_view contact) {
    bob.respond(invite, 200, {}, contact);
    c.settle();
    auto got = alice.take_response(200);
    REQUIRE_MESSAGE(got, c.trace);
    alice.ack(left(), *got);
    REQUIRE(bob.take_request("ACK"));
    alice.clear(), bob.clear();
    return *got;
  }
  // Alice says it; Bob hears it from that node.
  void reaches_bob_by(test_node& edge) {
    c.trace.clear();
    alice.in_dialog_as_caller(left(), ok, "BYE");
    const auto bye = bob.take_request("BYE");
    REQUIRE_MESSAGE(bye, c.trace);
    CHECK_MESSAGE(header_of(*bye, sip::header::via).find(edge.ip.text()) != std::string::npos, c.trace);
    bob.respond(*bye, 200);
    c.settle();
    CHECK_MESSAGE(alice.take_response(200), c.trace);
    CHECK(finals(alice) == 0);
  }
  void is_500() {
    alice.in_dialog_as_caller(left(), ok, "INFO");
    const auto refused = alice.take_response(500);
    REQUIRE_MESSAGE(refused, c.trace);
    CHECK(refused->has(sip::header::retry_after));
    CHECK(bob.inbox.empty());
  }
};

constexpr std::string_view natted = "<sip:bob@10.9.9.9:5062>";

} // namespace

TEST_CASE("found again: the callee's edge is dead, its phone has registered by another: the request goes there") {
  for (const bool noticed : {false, true}) {
    CAPTURE(noticed);
    in_call t;
    t.c.kill(t.right());
    if (noticed) t.c.bury(t.right());
    t.bob.register_at(t.c.node(3));
    t.bob.clear();
    t.reaches_bob_by(t.c.node(3));
  }
}

TEST_CASE("found again: the edge lives and says that the flow is gone") {
  in_call t;
  t.right().dead_flows.insert(t.bob.address);
  t.bob.register_at(t.c.node(3));
  t.bob.clear();
  t.reaches_bob_by(t.c.node(3));
}

TEST_CASE("found again: an ACK too") {
  takeover t(4);
  const sip::message invite = t.ring();
  t.bob.respond(invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.bob.register_at(t.c.node(3));
  t.alice.ack(t.left(), *ok);
  CHECK_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
}

TEST_CASE("found again: the ACK of a call that was answered after its phone went to another edge; the edge that rang knows of it") {
  takeover t(4);
  const sip::message invite = t.ring();
  t.bob.register_at(t.c.node(3));
  t.bob.clear();
  t.bob.respond(invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  t.alice.ack(t.left(), *ok);
  const auto ack = t.bob.take_request("ACK");
  REQUIRE_MESSAGE(ack, t.c.trace);
  CHECK(header_of(*ack, sip::header::via).find(t.c.node(3).ip.text()) != std::string::npos);
  t.c.kill(t.owner()); // the edge's own BYE is for a 2xx that nobody took
  t.c.advance(seconds(60));
  CHECK_MESSAGE(t.bob.count("BYE") == 0, t.c.trace);
}

TEST_CASE("found again: no newer flow, but the Contact is where the flow came from: it is reached from here") {
  in_call t;
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.reaches_bob_by(t.left());
}

TEST_CASE("found again: behind a NAT without a newer flow: 500 with Retry-After, which ends nothing") {
  in_call t(natted);
  SUBCASE("the edge is dead") {
    t.c.kill(t.right());
    t.c.bury(t.right());
  }
  SUBCASE("the edge says that the flow is gone") { t.right().dead_flows.insert(t.bob.address); }
  t.is_500();
}

TEST_CASE("found again: the caller's side is found as well") {
  in_call t;
  t.c.kill(t.left());
  t.c.bury(t.left());
  t.alice.register_at(t.c.node(3));
  t.alice.clear();
  t.bob.in_dialog_as_callee(t.right(), t.invite, "BYE");
  const auto bye = t.alice.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  CHECK(header_of(*bye, sip::header::via).find(t.c.node(3).ip.text()) != std::string::npos);
}

TEST_CASE("found again: a BYE that was lost with the edge goes another way, an INFO does not: its digit would be there twice") {
  for (const bool hangs_up : {true, false}) {
    CAPTURE(hangs_up);
    in_call t;
    t.c.freeze(t.right());
    t.bob.register_at(t.c.node(3));
    t.bob.clear();
    t.alice.in_dialog_as_caller(t.left(), t.ok, hangs_up ? "BYE" : "INFO");
    t.c.bury(t.right());
    CHECK_MESSAGE(t.bob.count("BYE") == (hangs_up ? 1 : 0), t.c.trace);
    CHECK(t.bob.count("INFO") == 0);
    if (hangs_up) continue;
    const auto refused = t.alice.take_response(500);
    REQUIRE_MESSAGE(refused, t.c.trace);
    CHECK(refused->has(sip::header::retry_after));
  }
}

TEST_CASE("found again: a phone went to another edge while its former one lives: the former edge was told") {
  for (const bool bob_speaks : {false, true}) {
    CAPTURE(bob_speaks);
    in_call t;
    phone& mover = bob_speaks ? t.alice : t.bob;
    mover.register_at(t.c.node(3));
    t.alice.clear(), t.bob.clear(), t.c.trace.clear();
    if (bob_speaks) t.bob.in_dialog_as_callee(t.right(), t.invite, "BYE");
    else t.alice.in_dialog_as_caller(t.left(), t.ok, "BYE");
    const auto bye = mover.take_request("BYE");
    REQUIRE_MESSAGE(bye, t.c.trace);
    CHECK_MESSAGE(header_of(*bye, sip::header::via).find(t.c.node(3).ip.text()) != std::string::npos, t.c.trace);
    CHECK(mover.inbox.empty());
  }
}

// ---- one keeper of a flow (consistency.md §9, invariant 6)

namespace {

struct two_edges : takeover {
  two_edges() : takeover(4) {}
  // OPTIONS to Bob from that node within two minutes.
  std::size_t pings_from(test_node& n) {
    c.trace.clear();
    c.advance(seconds(120));
    const std::string ping = "---- " + n.name + " -> udp " + bob.address.text() + "\nOPTIONS ";
    std::size_t count = 0;
    for (std::size_t at = 0; (at = c.trace.find(ping, at)) != std::string::npos; ++at) ++count;
    return count;
  }
};

} // namespace

TEST_CASE("former edge: it keeps the flow alive no more, once the phone is registered by another; it does when it is back") {
  two_edges t;
  REQUIRE(t.pings_from(t.right()) > 3);
  t.bob.register_at(t.c.node(3));
  CHECK(t.pings_from(t.right()) == 0);
  CHECK(t.pings_from(t.c.node(3)) > 3);
  t.bob.register_at(t.right());
  CHECK(t.pings_from(t.c.node(3)) == 0);
  CHECK(t.pings_from(t.right()) > 3);
}

TEST_CASE("former edge: a registration removed by another edge is kept alive by none, and its call goes on by the old flow") {
  two_edges t;
  const sip::message invite = t.ring();
  t.bob.respond(invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  t.alice.ack(t.left(), *ok);
  t.bob.register_at(t.c.node(3), 0);
  t.bob.clear();
  for (std::size_t i = 0; i < t.c.size(); ++i) CHECK(t.pings_from(t.c.node(i)) == 0);
  t.alice.in_dialog_as_caller(t.left(), *ok, "INFO");
  CHECK_MESSAGE(t.bob.count("INFO") == 1, t.c.trace);
}

TEST_CASE("found again: a NAT gave the phone another port at the same edge: the newer one is used") {
  in_call t("<sip:bob@10.9.9.9:5062>");
  phone& again = t.c.add_stranger(t.bob.user, "192.0.2.2:6000", "example.com");
  again.tag = t.bob.tag;
  again.request(t.right(), "REGISTER", "sip:example.com",
                {.to = "<" + t.bob.aor() + ">", .more = "Expires: 600\r\n", .contact = t.bob.contact()});
  REQUIRE_MESSAGE(again.take_response(200), t.c.trace);
  t.alice.in_dialog_as_caller(t.left(), t.ok, "INFO");
  CHECK_MESSAGE(again.count("INFO") == 1, t.c.trace);
  CHECK(t.bob.count("INFO") == 0);
}

TEST_CASE("found again: a phone that comes back to its former edge is reached there again") {
  in_call t;
  t.bob.register_at(t.c.node(3));
  t.bob.register_at(t.right());
  t.bob.clear();
  t.reaches_bob_by(t.right());
}
