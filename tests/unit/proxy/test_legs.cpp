// What becomes of copies of one request (sip.md §6).
#include "takeover.hpp"

#include "roles/proxy/attempt.hpp"
#include "roles/proxy/leg_index.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

sip::message request_of(std::string_view uri, std::string_view cseq, std::string_view from_tag, std::string_view body = "") {
  std::string text = "INVITE " + std::string(uri) + " SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=" +
                     std::string(from_tag) + "\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: " + std::string(cseq) +
                     "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  return *sip::message::parse(std::move(text));
}

} // namespace

TEST_CASE("attempt: what makes a copy, and what another request (sip.md §6)") {
  const auto of = [](const sip::message& m, std::string_view who = "sip:a@x") {
    return attempt_of(m, attempt_owner::subscriber, who);
  };
  const std::string same = of(request_of("sip:b@x", "7 INVITE", "t"));
  CHECK(is_attempt(same));
  CHECK(is_subscribers(same));
  CHECK_FALSE(is_attempt(same.substr(1)));
  CHECK_FALSE(is_attempt("S" + same.substr(1)));
  sip::message other_way = request_of("sip:b@x", "7 INVITE", "t");
  other_way.replace_first_value(sip::header::via, "SIP/2.0/TCP elsewhere;branch=z9hG4bK2");
  CHECK(of(other_way) == same);
  CHECK(of(request_of("sip:c@x", "7 INVITE", "t")) != same);
  CHECK(of(request_of("sip:b@x", "8 INVITE", "t")) != same);
  CHECK(of(request_of("sip:b@x", "7 INVITE", "u")) != same);
  CHECK(of(request_of("sip:b@x", "7 INVITE", "t", "v=0")) != same);
  CHECK(of(request_of("sip:b@x", "7 INVITE", "t"), "sip:m@x") != same);
  CHECK(attempt_of(request_of("sip:b@x", "7 INVITE", "t"), attempt_owner::stranger, "sip:a@x") != same);
}

TEST_CASE("leg key: attempt, binding, flow and round; not the worker that a datagram came by") {
  sip::flow f{.transport = sip::transport::udp, .local = *endpoint::parse("10.0.0.1:5060"), .remote = *endpoint::parse("192.0.2.1:5062")};
  const leg_key k = leg_key_of("a", 1, "", f, 0);
  sip::flow moved = f;
  moved.worker = 3;
  CHECK(leg_key_of("a", 1, "", moved, 0) == k);
  CHECK(leg_key_of("b", 1, "", f, 0) != k);
  CHECK(leg_key_of("a", 2, "", f, 0) != k);
  CHECK(leg_key_of("a", 1, "", f, 1) != k);
  CHECK(leg_key_of("a", 1, "sip:far.example", f, 0) != k);
  moved.remote.port = 5063;
  CHECK(leg_key_of("a", 1, "", moved, 0) != k);
  CHECK(ua_key_of("a", 1, "", moved) == ua_key_of("a", 1, "", f)); // one UA, whichever flow
}

TEST_CASE("leg index: the first worker has it, until it lets go; only its own") {
  leg_index i;
  const leg_key k{1, 2};
  CHECK(i.claim(k, 3) == 3);
  CHECK(i.claim(k, 4) == 3);
  i.release(k, 4);
  CHECK(i.claim(k, 4) == 3);
  i.release(k, 3);
  CHECK_FALSE(i.find(k));
  CHECK(i.claim(k, 4) == 4);
  CHECK(i.find(k) == 4);
  i.expect_ack(k, 1);
  i.expect_ack(k, 2);
  CHECK(i.who_expects_ack(k).size() == 2);
  i.ack_settled(k, 1);
  CHECK(i.who_expects_ack(k) == std::vector<std::uint16_t>{2});
}

TEST_CASE("legs: an outsider's copies stand beside one another: each gets each answer once") {
  takeover t(4, 2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.left(), "INVITE", t.bob.aor(), {.call_id = "forked"});
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  t.bob.respond(*invite, 180);
  t.c.settle();
  CHECK(carol.take_response(180));
  carol.same_again(t.c.node(3)); // a second copy, by another edge, from the same address
  CHECK_MESSAGE(t.bob.count("INVITE") == 0, t.c.trace);
  CHECK_MESSAGE(carol.take_response(180), t.c.trace); // what was said before it came
  CHECK(carol.take_response(180) == std::nullopt);
  t.bob.respond(*invite, 200);
  t.c.settle();
  CHECK(carol.take_response(200));
  CHECK_MESSAGE(carol.take_response(200), t.c.trace);
  CHECK(carol.take_response(200) == std::nullopt);
  // Ended with a 2xx: a third copy attaches to what is over.
  carol.same_again(t.right());
  CHECK(t.bob.count("INVITE") == 0);
  CHECK_MESSAGE(carol.take_response(200), t.c.trace);
}

TEST_CASE("legs: a leg that others wait for is not cancelled by one of them") {
  takeover t(4, 2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.left(), "INVITE", t.bob.aor(), {.call_id = "forked"});
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  t.bob.respond(*invite, 180);
  carol.same_again(t.c.node(3));
  carol.clear();
  carol.cancel(t.c.node(3));
  CHECK(carol.take_response(200));
  CHECK_MESSAGE(carol.take_response(487), t.c.trace);
  CHECK_MESSAGE(t.bob.count("CANCEL") == 0, t.c.trace);
  t.bob.respond(*invite, 200);
  t.c.settle();
  CHECK(carol.take_response(200));
}

TEST_CASE("legs: an attempt that was cancelled is forgotten; a copy starts anew, not before 5 s after the UA's answer") {
  takeover t(4, 2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.left(), "INVITE", t.bob.aor(), {.call_id = "again"});
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  t.bob.respond(*invite, 180);
  t.c.settle();
  carol.cancel(t.left());
  REQUIRE(t.bob.take_request("CANCEL"));
  t.bob.respond(*invite, 487);
  t.c.settle();
  REQUIRE(carol.take_response(487));
  carol.clear(), t.bob.clear();
  t.c.advance(seconds(1));
  carol.same_again(t.c.node(3));
  CHECK_MESSAGE(t.bob.count("INVITE") == 0, t.c.trace); // it would be 482
  t.c.advance(milliseconds(3900));
  CHECK(t.bob.count("INVITE") == 0);
  t.c.advance(milliseconds(200));
  const auto fresh = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(fresh, t.c.trace);
  t.bob.respond(*fresh, 200);
  t.c.settle();
  CHECK(carol.take_response(200));
}

TEST_CASE("legs: a request that is given up in its pause never reaches the phone") {
  takeover t(4, 2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.left(), "INVITE", t.bob.aor(), {.call_id = "again"});
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 180);
  t.c.settle();
  carol.cancel(t.left());
  t.bob.respond(*invite, 487);
  t.c.settle();
  carol.clear(), t.bob.clear();
  carol.same_again(t.c.node(3));
  carol.cancel(t.c.node(3));
  CHECK_MESSAGE(carol.take_response(487), t.c.trace);
  t.c.advance(seconds(10));
  CHECK(t.bob.inbox.empty());
}

TEST_CASE("legs: what the callee answered is kept for 32 s after its transaction, then a copy starts anew") {
  takeover t(4, 2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.left(), "INVITE", t.bob.aor(), {.call_id = "busy"});
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 486);
  t.c.settle();
  CHECK(carol.take_response(486));
  t.bob.clear();
  t.c.advance(seconds(60)); // timer D of UDP, and nearly all of the rest
  carol.same_again(t.c.node(3));
  CHECK_MESSAGE(carol.take_response(486), t.c.trace);
  CHECK(t.bob.inbox.empty());
  t.c.advance(seconds(10));
  carol.same_again(t.c.node(3));
  CHECK_MESSAGE(t.bob.count("INVITE") == 1, t.c.trace);
}

TEST_CASE("legs: a slow owner that wakes late does not push its successor's copy aside") {
  takeover t;
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060"); // nobody asks her for credentials
  t.c.freeze(t.owner());
  carol.request(t.left(), "INVITE", t.bob.aor(), {.call_id = "late"});
  t.c.advance(milliseconds(1600));
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  t.bob.respond(*invite, 180);
  t.c.settle();
  t.c.thaw(t.owner());
  t.c.advance(seconds(1));
  CHECK_MESSAGE(t.finals(carol) == 0, t.c.trace);
  CHECK(t.bob.inbox.empty());
  t.bob.respond(*invite, 200);
  t.c.settle();
  CHECK(carol.take_response(200));
  CHECK(t.finals(carol) == 0);
}
