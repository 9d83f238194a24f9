// Legs and forks whose upstream died (sip.md §6).
#include "takeover.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

// Bob's edge is asked by n3, which owns both: with the caller's edge dead, n3 is the orphan; with `direct`, Bob's edge
// itself, for the caller's edge owns both.
struct orphaned : takeover {
  explicit orphaned(bool direct) : takeover(3, direct ? 0 : 2, direct ? 0 : 2) {}
};

} // namespace

TEST_CASE("orphan: the caller's edge dies: the phone stops ringing after 6 s, and is told why") {
  for (const bool direct : {false, true}) {
    CAPTURE(direct);
    orphaned t(direct);
    const sip::message invite = t.ring();
    t.c.kill(t.left());
    t.c.bury(t.left());
    t.c.advance(milliseconds(5900));
    CHECK_MESSAGE(t.bob.inbox.empty(), t.c.trace);
    t.c.advance(milliseconds(200));
    const auto cancel = t.bob.take_request("CANCEL");
    REQUIRE_MESSAGE(cancel, t.c.trace);
    CHECK(header_of(*cancel, sip::header::reason).find("Caller lost") != std::string::npos);
    t.bob.respond(invite, 487);
    t.c.settle();
    CHECK(t.bob.take_request("ACK"));
    t.check_empty();
  }
}

TEST_CASE("orphan: a 2xx that nobody took is acknowledged and ended with BYE, with Reason") {
  for (const bool direct : {false, true}) {
    CAPTURE(direct);
    orphaned t(direct);
    const sip::message invite = t.ring();
    t.c.kill(t.left());
    t.bob.respond(invite, 200);
    t.c.advance(milliseconds(5900));
    CHECK(t.bob.inbox.empty());
    t.c.advance(milliseconds(200));
    const auto ack = t.bob.take_request("ACK");
    REQUIRE_MESSAGE(ack, t.c.trace);
    const auto bye = t.bob.take_request("BYE");
    REQUIRE_MESSAGE(bye, t.c.trace);
    CHECK(bye->request_uri() == "sip:" + t.bob.user + "@192.0.2.2:5062");
    CHECK_FALSE(bye->has(sip::header::route));
    CHECK(header_of(*bye, sip::header::reason).find("Caller lost") != std::string::npos);
    CHECK(header_of(*bye, sip::header::call_id) == header_of(invite, sip::header::call_id));
    CHECK(header_of(*bye, sip::header::from) == header_of(invite, sip::header::from));
    t.bob.respond(*bye, 200);
    t.c.settle();
    t.check_empty();
    CHECK(t.bob.count("BYE") == 0); // once
  }
}

TEST_CASE("orphan: a 2xx that comes in the last moment waits two more seconds for its ACK") {
  orphaned t(false);
  const sip::message invite = t.ring();
  t.c.kill(t.left());
  t.c.advance(milliseconds(5900));
  t.bob.respond(invite, 200);
  t.c.advance(milliseconds(1900));
  CHECK_MESSAGE(t.bob.count("BYE") == 0, t.c.trace);
  t.c.advance(milliseconds(200));
  CHECK_MESSAGE(t.bob.count("BYE") == 1, t.c.trace);
}

TEST_CASE("orphan: a 2xx that crosses the CANCEL is acknowledged and ended too") {
  for (const bool direct : {false, true}) {
    CAPTURE(direct);
    orphaned t(direct);
    const sip::message invite = t.ring();
    t.c.kill(t.left());
    t.c.advance(milliseconds(6100));
    REQUIRE_MESSAGE(t.bob.take_request("CANCEL"), t.c.trace);
    t.bob.respond(invite, 200);
    t.c.settle();
    CHECK_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
    CHECK(t.bob.take_request("BYE"));
  }
}

TEST_CASE("orphan: a call that was acknowledged is left alone, whoever dies then") {
  for (const bool direct : {false, true}) {
    CAPTURE(direct);
    orphaned t(direct);
    const sip::message invite = t.ring();
    t.bob.respond(invite, 200);
    t.c.settle();
    const auto ok = t.alice.take_response(200);
    REQUIRE(ok);
    SUBCASE("its ACK came by the caller's edge") { t.alice.ack(t.left(), *ok); }
    SUBCASE("its ACK comes by another edge") {
      t.c.kill(t.left());
      t.alice.ack(t.owner(), *ok);
    }
    REQUIRE_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
    if (!t.left().killed) t.c.kill(t.left());
    t.c.bury(t.left());
    t.c.advance(seconds(100));
    CHECK_MESSAGE(t.bob.inbox.empty(), t.c.trace);
  }
}

TEST_CASE("orphan: an upstream that is dead in the view, but whose link stands, is dead") {
  orphaned t(false);
  static_cast<void>(t.ring());
  t.c.freeze(t.left());
  t.c.advance(seconds(10));
  CHECK(t.bob.inbox.empty()); // paused, as far as anybody knows
  t.c.bury(t.left());
  t.c.advance(milliseconds(6100));
  CHECK_MESSAGE(t.bob.count("CANCEL") == 1, t.c.trace);
}

TEST_CASE("orphan: the caller comes by another edge within 6 s: the phone rings on") {
  takeover t(4);
  const std::string authorization = t.authorization("INVITE");
  t.send("INVITE", authorization);
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 180);
  t.c.settle();
  t.c.kill(t.left());
  t.c.advance(seconds(2));
  // RFC 3263 §4.3: the same request, another transaction, another server. Its nonce was used; this phone sends none
  // again, but has a fresh one ready.
  t.alice.same_again(t.c.node(3));
  CHECK_MESSAGE(t.alice.take_response(407), t.c.trace); // a used nonce, from outside
  t.c.advance(seconds(5));
  CHECK(t.bob.count("CANCEL") == 1);
}
