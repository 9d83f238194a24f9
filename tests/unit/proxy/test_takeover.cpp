// An owner dies in the middle of a request (sip.md §6): the hop before it goes on with the next one, the phone sees one
// request, the caller one answer.
#include "takeover.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

// Bob takes it, Alice acknowledges, Bob hangs up.
void answer_and_end(takeover& t, const sip::message& invite) {
  t.bob.respond(invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE_MESSAGE(ok, t.c.trace);
  CHECK(ok->values(sip::header::via).size() == 1);
  t.alice.ack(t.left(), *ok);
  CHECK_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
  t.bob.in_dialog_as_callee(t.right(), invite, "BYE");
  const auto bye = t.alice.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  t.alice.respond(*bye, 200);
  t.c.settle();
  CHECK(t.bob.take_response(200));
  CHECK(t.bob.count("INVITE") == 0);
  CHECK(t.bob.count("CANCEL") == 0);
}

// One of the flows of Bob's instance (RFC 5626 §4.2).
void bind_flow(takeover& t, phone& p, test_node& edge, int reg_id) {
  p.request(edge, "REGISTER", "sip:example.com",
            {.to = "<" + p.aor() + ">",
             .more = "Expires: 600\r\nSupported: path, outbound\r\n",
             .call_id = "flow" + std::to_string(reg_id),
             .contact = p.contact() + ";+sip.instance=\"<urn:uuid:1>\";reg-id=" + std::to_string(reg_id)});
  REQUIRE_MESSAGE(p.take_response(200), t.c.trace);
}

} // namespace

TEST_CASE("takeover: an owner that is dead before it could be asked: the next of the list runs it from its copy") {
  takeover t;
  const std::string authorization = t.authorization("INVITE");
  t.c.kill(t.owner());
  t.send("INVITE", authorization);
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  answer_and_end(t, *invite);
  t.check_empty();
}

TEST_CASE("takeover: an owner dies before its 100: the request was sent, and is sent to the next, instead-of it") {
  takeover t;
  const std::string authorization = t.authorization("INVITE");
  t.c.freeze(t.owner());
  t.send("INVITE", authorization);
  CHECK(t.bob.count("INVITE") == 0);
  t.c.kill(t.owner());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  answer_and_end(t, *invite);
  t.check_empty();
}

TEST_CASE("edges: a ringing call is waited for by the edges of both phones, and by no owner, until it is answered") {
  for (const int status : {200, 486}) {
    CAPTURE(status);
    takeover t;
    const sip::message invite = t.ring();
    CHECK(t.left().core.unanswered() == std::set<std::string>{"the-call"});
    CHECK(t.right().core.unanswered() == std::set<std::string>{"the-call"});
    CHECK(t.owner().core.unanswered().empty());
    t.bob.respond(invite, status);
    t.c.settle();
    for (std::size_t i = 0; i < 3; ++i) CHECK(t.c.node(i).core.unanswered().empty());
  }
}

TEST_CASE("takeover: an owner dies while the phone rings: the copy attaches, the phone sees one INVITE") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.kill(t.owner());
  CHECK_MESSAGE(t.bob.count("INVITE") == 0, t.c.trace);
  t.c.bury(t.owner());
  t.c.advance(seconds(10)); // longer than an orphan lives
  CHECK_MESSAGE(t.bob.inbox.empty(), t.c.trace);
  answer_and_end(t, invite);
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: the phone registered by another edge while it rang: the copy finds its leg at the former one") {
  for (const std::size_t nodes : {4, 5, 6, 7}) { // so that the next owner is the former edge, the new one, or neither
    CAPTURE(nodes);
    takeover t(nodes);
    const sip::message invite = t.ring();
    t.bob.register_at(t.c.node(3));
    t.bob.clear();
    t.c.kill(t.owner());
    CHECK_MESSAGE(t.bob.count("INVITE") == 0, t.c.trace);
    t.bob.respond(invite, 200);
    t.c.settle();
    const auto ok = t.alice.take_response(200);
    REQUIRE_MESSAGE(ok, t.c.trace);
    t.alice.ack(t.left(), *ok);
    CHECK_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
    CHECK(t.bob.count("INVITE") == 0);
    CHECK(t.finals(t.alice) == 0);
  }
}

TEST_CASE("takeover: so it does after two changes of edge, and a CANCEL stops the phone that rings") {
  takeover t(6);
  t.ring();
  t.bob.register_at(t.c.node(3));
  t.bob.register_at(t.c.node(4));
  t.bob.clear();
  t.c.kill(t.owner());
  CHECK_MESSAGE(t.bob.count("INVITE") == 0, t.c.trace);
  t.alice.cancel(t.left());
  const auto cancel = t.bob.take_request("CANCEL");
  REQUIRE_MESSAGE(cancel, t.c.trace);
  CHECK(header_of(*cancel, sip::header::via).find(t.right().ip.text()) != std::string::npos);
}

TEST_CASE("takeover: an owner dies before it forked, after the phone changed its edge: no leg at the former one, the new flow rings") {
  takeover t(4);
  t.bob.register_at(t.c.node(3));
  t.bob.clear();
  const std::string authorization = t.authorization("INVITE");
  t.c.freeze(t.owner());
  t.send("INVITE", authorization);
  t.c.kill(t.owner());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(header_of(*invite, sip::header::via).find(t.c.node(3).ip.text()) != std::string::npos);
  t.bob.respond(*invite, 200);
  t.c.settle();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
}

TEST_CASE("takeover: the former edge is dead: the copy goes to the new one") {
  takeover t(4);
  t.ring();
  t.bob.register_at(t.c.node(3));
  t.bob.clear();
  t.owner().killed = true; // both die at once: it says nothing of the edge's death
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.c.kill(t.owner());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(header_of(*invite, sip::header::via).find(t.c.node(3).ip.text()) != std::string::npos);
}

TEST_CASE("takeover: the phone's NAT gave it another port at the same edge while it rang: the leg is found all the same") {
  takeover t;
  const sip::message invite = t.ring();
  phone& again = t.c.add_stranger(t.bob.user, "192.0.2.2:6000", "example.com");
  again.tag = t.bob.tag;
  again.request(t.right(), "REGISTER", "sip:example.com", {.to = "<" + t.bob.aor() + ">", .more = "Expires: 600\r\n", .contact = t.bob.contact()});
  REQUIRE_MESSAGE(again.take_response(200), t.c.trace);
  t.c.kill(t.owner());
  CHECK_MESSAGE(again.count("INVITE") == 0, t.c.trace);
  CHECK(t.bob.count("INVITE") == 0);
  t.bob.respond(invite, 200);
  t.c.settle();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
}

TEST_CASE("takeover: the instance's other flow was registered again while it rang, and is the newest now: the leg is found (RFC 5626 §7)") {
  takeover t(4);
  phone& first = t.bob;
  phone& second = t.c.add_phone(t.bob.user, "192.0.2.3:5062");
  first.request(t.right(), "REGISTER", "sip:example.com",
                {.to = "<" + first.aor() + ">", .more = "Expires: 0\r\n", .call_id = "none", .contact = "*"});
  bind_flow(t, second, t.c.node(3), 2);
  t.c.advance(seconds(1));
  bind_flow(t, first, t.right(), 1); // the newest: it rings
  first.clear(), second.clear();
  const sip::message invite = t.ring();
  t.c.advance(seconds(1));
  bind_flow(t, second, t.c.node(3), 2);
  t.c.kill(t.owner());
  CHECK_MESSAGE(second.count("INVITE") == 0, t.c.trace);
  CHECK(first.count("INVITE") == 0);
  first.respond(invite, 200);
  t.c.settle();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
}

TEST_CASE("takeover: a dead owner whose links do not break is noticed by the view") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.freeze(t.owner());
  t.c.bury(t.owner());
  CHECK_MESSAGE(t.bob.inbox.empty(), t.c.trace);
  answer_and_end(t, invite);
  t.check_empty();
}

TEST_CASE("takeover: an owner dies with the callee's 200: the copy is given it") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.freeze(t.owner());
  t.bob.respond(invite, 200);
  t.c.settle();
  CHECK(t.finals(t.alice) == 0);
  t.c.kill(t.owner());
  const auto ok = t.alice.take_response(200);
  REQUIRE_MESSAGE(ok, t.c.trace);
  t.alice.ack(t.left(), *ok);
  CHECK(t.bob.take_request("ACK"));
  t.c.advance(seconds(20));
  CHECK_MESSAGE(t.bob.count("BYE") == 0, t.c.trace); // it was acknowledged: no orphan's end
  CHECK(t.bob.count("INVITE") == 0);
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: the callee's own refusal is remembered for a copy, and not asked for again") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.freeze(t.owner());
  t.bob.respond(invite, 486);
  t.c.settle();
  t.c.kill(t.owner());
  CHECK_MESSAGE(t.alice.take_response(486), t.c.trace);
  CHECK(t.bob.count("INVITE") == 0);
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: without a 100 for 1.5 s the next owner is asked; a slow one that wakes changes nothing") {
  takeover t;
  const std::string authorization = t.authorization("INVITE");
  t.c.freeze(t.owner());
  t.send("INVITE", authorization);
  t.c.advance(milliseconds(1400));
  CHECK(t.bob.count("INVITE") == 0);
  t.c.advance(milliseconds(200));
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  t.bob.respond(*invite, 180);
  t.c.settle();
  CHECK(t.alice.take_response(180));
  t.c.thaw(t.owner()); // its copy comes late
  t.c.advance(seconds(10));
  CHECK_MESSAGE(t.bob.inbox.empty(), t.c.trace);
  CHECK(t.finals(t.alice) == 0);
  answer_and_end(t, *invite);
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: a 2xx of a hop that was given up goes on, and ends the retry") {
  takeover t;
  const sip::message invite = t.ring();
  // The owner is falsely dead for Alice's edge alone, and the retry goes to somebody who does not answer.
  t.c.freeze(t.c.node(1));
  t.left().dead_flows.insert(t.owner().link_address());
  t.left().layer.flow_gone(t.left().link_to(t.owner().link_address()));
  t.c.settle();
  t.left().dead_flows.clear();
  t.c.thaw(t.c.node(1));
  answer_and_end(t, invite);
  t.check_empty();
}

TEST_CASE("takeover: a CANCEL that comes while the owner is lost is sent after the retry's 100, and stops the phone") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.freeze(t.owner());
  t.alice.cancel(t.left(), "Reason: SIP;cause=600\r\n");
  CHECK(t.alice.take_response(200));
  CHECK(t.bob.count("CANCEL") == 0);
  t.c.kill(t.owner());
  const auto cancel = t.bob.take_request("CANCEL");
  REQUIRE_MESSAGE(cancel, t.c.trace);
  CHECK(header_of(*cancel, sip::header::reason).find("600") != std::string::npos);
  t.bob.respond(invite, 487);
  t.c.settle();
  CHECK(t.alice.take_response(487));
  CHECK(t.bob.take_request("ACK"));
  CHECK(t.bob.inbox.empty());
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: a CANCEL that comes while the next owner still asks the store reaches the leg all the same") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.freeze(t.owner());
  t.alice.cancel(t.left());
  CHECK(t.alice.take_response(200));
  t.c.store.slow = true; // its answers wait
  t.c.kill(t.owner());
  CHECK(t.bob.count("CANCEL") == 0);
  CHECK(t.finals(t.alice) == 0);
  t.c.store.answer_all();
  t.c.settle();
  REQUIRE_MESSAGE(t.bob.take_request("CANCEL"), t.c.trace);
  t.bob.respond(invite, 487);
  t.c.settle();
  CHECK(t.alice.take_response(487));
  CHECK(t.bob.count("INVITE") == 0);
  t.check_empty();
}

TEST_CASE("takeover: a MESSAGE is on the wire once, and its answer reaches the copy") {
  takeover t;
  const std::string authorization = t.authorization("MESSAGE");
  t.send("MESSAGE", authorization);
  const auto message = t.bob.take_request("MESSAGE");
  REQUIRE(message);
  t.c.kill(t.owner());
  CHECK_MESSAGE(t.bob.count("MESSAGE") == 0, t.c.trace);
  t.bob.respond(*message, 200);
  t.c.settle();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: the callee's owner dies behind the caller's: the hop before it goes on") {
  takeover t(3, 0, 2); // Alice's edge owns her
  const sip::message invite = t.ring();
  t.c.kill(t.owner());
  t.c.advance(seconds(10));
  CHECK_MESSAGE(t.bob.inbox.empty(), t.c.trace);
  answer_and_end(t, invite);
  t.check_empty();
}

TEST_CASE("takeover: two other owners at most; then 500 with Retry-After") {
  takeover t(5);
  std::size_t sent = 0;
  const std::string authorization = t.authorization("MESSAGE");
  const auto list = t.left().facts_->registrars->at(dht::key_of_aor(t.alice.aor()));
  std::vector<test_node*> holders;
  for (const node_id* id : list.span())
    for (std::size_t i = 0; i < 5; ++i)
      if (t.c.node(i).id == *id) holders.push_back(&t.c.node(i));
  for (test_node* n : holders)
    if (n != &t.left()) t.c.freeze(*n), ++sent;
  if (sent < 3) return; // Alice's edge holds a copy itself, and runs it
  t.send("MESSAGE", authorization);
  t.c.advance(milliseconds(4400));
  CHECK(t.alice.statuses().empty());
  t.c.advance(milliseconds(300));
  const auto refused = t.alice.take_response(500);
  REQUIRE_MESSAGE(refused, t.c.trace);
  CHECK(refused->has(sip::header::retry_after));
}

TEST_CASE("takeover: REGISTER is not run instead of a live owner; it waits for the next one") {
  takeover t;
  t.c.kill(t.owner());
  t.alice.request(t.left(), "REGISTER", "sip:example.com", {.to = "<" + t.alice.aor() + ">", .challenge = false});
  t.c.advance(seconds(1));
  CHECK_MESSAGE(t.alice.statuses().empty(), t.c.trace);
  SUBCASE("which is known within two seconds") {
    t.c.bury(t.owner());
    t.c.advance(milliseconds(200));
    CHECK_MESSAGE(t.alice.take_response(401), t.c.trace);
  }
  SUBCASE("else 500 with Retry-After") {
    t.c.advance(milliseconds(1200));
    const auto refused = t.alice.take_response(500);
    REQUIRE(refused);
    CHECK(refused->has(sip::header::retry_after));
  }
}

TEST_CASE("takeover: a node that is not listed does not run it instead: it passes it to the owner") {
  takeover t(5);
  test_node* outsider = nullptr;
  const auto list = t.left().facts_->registrars->at(dht::key_of_aor(t.bob.aor()));
  for (std::size_t i = 0; i < 5; ++i)
    if (!list.has(t.c.node(i).id)) outsider = &t.c.node(i);
  REQUIRE(outsider != nullptr);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  // What a node with another view would send.
  test_node& sender = outsider == &t.left() ? t.right() : t.left();
  const std::string text =
      "MESSAGE " + t.bob.aor() +
      " SIP/2.0\r\nVia: SIP/2.0/TLS " + sender.name + ".example.com;branch=z9hG4bKx\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKy\r\n" +
      "Route: <sip:" + outsider->name + ".example.com;lr;stage=term;aor=" + "AAAA" + ";vs=x;instead-of=n3>\r\n" +
      "Max-Forwards: 70\r\nFrom: <sip:carol@elsewhere.net>;tag=c\r\nTo: <" + t.bob.aor() +
      ">\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";
  std::string with_aor = text;
  with_aor.replace(with_aor.find("AAAA"), 4, to_base64url(t.bob.aor()));
  outsider->receive(with_aor, {.flow = outsider->link_to(sender.link_address()),
                               .at = t.c.clock.now(),
                               .peer = sender.id});
  t.c.settle();
  CHECK_MESSAGE(t.bob.take_request("MESSAGE"), t.c.trace);
  CHECK(t.c.trace.find("hop=2") != std::string::npos);
  CHECK(carol.inbox.empty());
}

TEST_CASE("takeover: the callee's edge dies: the branch is 408, as if the phone had been silent") {
  takeover t;
  static_cast<void>(t.ring());
  t.c.kill(t.right());
  CHECK_MESSAGE(t.alice.take_response(408), t.c.trace);
  CHECK(t.finals(t.alice) == 0);
  t.check_empty();
}

TEST_CASE("takeover: the callee's edge dies: the instance's other flow rings (RFC 5626 §7)") {
  takeover t(4);
  phone& first = t.bob;
  phone& second = t.c.add_phone(t.bob.user, "192.0.2.3:5062");
  first.request(t.right(), "REGISTER", "sip:example.com",
                {.to = "<" + first.aor() + ">", .more = "Expires: 0\r\n", .call_id = "none", .contact = "*"});
  bind_flow(t, second, t.c.node(3), 2);
  t.c.advance(seconds(1));
  bind_flow(t, first, t.right(), 1); // the newest: it rings first
  first.clear(), second.clear();
  static_cast<void>(t.ring());
  CHECK(second.count("INVITE") == 0);
  t.c.kill(t.right());
  const auto invite = second.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  second.respond(*invite, 200);
  t.c.settle();
  CHECK(t.alice.take_response(200));
}

TEST_CASE("takeover: a callee's edge that is dead in the view, but whose link stands, is taken as dead too") {
  takeover t;
  static_cast<void>(t.ring());
  t.c.freeze(t.right());
  t.c.bury(t.right());
  CHECK_MESSAGE(t.alice.take_response(408), t.c.trace);
}

TEST_CASE("leaving: the callee's edge cuts a leaving owner off first: no 408, the next owner's answer is the one") {
  takeover t;
  const sip::message invite = t.ring();
  t.c.leave(t.owner());
  t.c.cut_link(t.owner(), t.right());
  CHECK_MESSAGE(t.finals(t.alice) == 0, t.c.trace);
  t.c.cut_link(t.owner(), t.left());
  t.c.kill(t.owner());
  t.c.bury(t.owner());
  CHECK_MESSAGE(t.finals(t.alice) == 0, t.c.trace);
  CHECK(t.bob.count("INVITE") == 0);
  answer_and_end(t, invite);
  t.check_empty();
}

TEST_CASE("leaving: the caller's edge says 503, so that his phone tries another one; what rang is ended as an orphan") {
  takeover t(4);
  t.ring();
  t.c.leave(t.left());
  t.c.cut_link(t.left(), t.owner());
  const auto refused = t.alice.take_response(503);
  REQUIRE_MESSAGE(refused, t.c.trace);
  CHECK(refused->has(sip::header::retry_after));
  t.alice.ack_failure(t.left(), *refused);
  CHECK(t.finals(t.alice) == 0);
  t.c.kill(t.left());
  t.c.bury(t.left());
  t.c.advance(seconds(5));
  CHECK(t.bob.count("CANCEL") == 0); // a copy may still come
  t.c.advance(seconds(3));
  CHECK(t.bob.count("CANCEL") == 1);
}

TEST_CASE("leaving: a MESSAGE on its way through a leaving owner is answered once, by the next one") {
  takeover t;
  t.send("MESSAGE", t.authorization("MESSAGE"));
  const auto message = t.bob.take_request("MESSAGE");
  REQUIRE_MESSAGE(message, t.c.trace);
  t.c.leave(t.owner());
  t.c.cut_link(t.owner(), t.right());
  CHECK_MESSAGE(t.finals(t.alice) == 0, t.c.trace);
  t.c.cut_link(t.owner(), t.left());
  t.c.kill(t.owner());
  CHECK(t.bob.count("MESSAGE") == 0);
  t.bob.respond(*message, 200);
  t.c.settle();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
}
