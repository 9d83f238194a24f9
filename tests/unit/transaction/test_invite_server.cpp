#include "script.hpp"

using namespace skald;
using namespace skald::sip;
using namespace skald::sip::test;

TEST_CASE("invite server: the INVITE again gets the last 1xx again, where the copy came from (RFC 3261 §17.2.1)") {
  script s;
  s.receive(request_text("INVITE"));
  s.receive(request_text("INVITE")); // nothing to say yet
  CHECK(s.sent.empty());
  s.layer.respond(s.server, response(100, "INVITE"));
  s.layer.respond(s.server, response(180, "INVITE"));
  s.receive(request_text("INVITE"), flow_over(transport::udp, "192.0.2.9:6000"));
  CHECK(s.take() == lines{"request INVITE"});
  REQUIRE(s.sent.size() == 3);
  CHECK(s.sent[2].start_line() == "SIP/2.0 180 Some Reason");
  CHECK(s.sent[2].where.remote == at("192.0.2.9:6000"));
  CHECK(s.sent[1].where == s.way); // the source of the first, and the address of ours that it came to
}

TEST_CASE("invite server: over UDP a rejection is repeated from T1 to T2 until the ACK comes, which is absorbed") {
  script s;
  s.receive(request_text("INVITE"));
  const mono_time start = s.clk.now();
  s.layer.respond(s.server, response(486, "INVITE"));
  s.pass(milliseconds(8000));
  CHECK(s.sent_after(start) == std::vector<long>{0, 500, 1500, 3500, 7500});
  s.receive(request_text("INVITE"));
  CHECK(s.sent.size() == 6);
  s.receive(request_text("ACK", "z9hG4bKabc", "b1"));
  s.receive(request_text("ACK", "z9hG4bKabc", "b1"));
  s.pass(milliseconds(4999)); // timer I
  CHECK(s.sent.size() == 6);
  CHECK(s.take() == lines{"request INVITE"});
  s.pass(milliseconds(1));
  CHECK(s.take() == lines{"server ended"});
  CHECK(s.layer.size() == 0);
  CHECK(s.timers.size() == 0);
}

TEST_CASE("invite server: without an ACK it ends after 64*T1 and says so (timer H)") {
  for (const transport t : {transport::udp, transport::tcp, transport::link}) {
    script s(t);
    s.receive(request_text("INVITE"));
    s.layer.respond(s.server, response(486, "INVITE"));
    s.pass(seconds(32));
    CHECK(s.take() == lines{"request INVITE", "server ended without ack"});
    CHECK(s.sent.size() == (t == transport::udp ? 11 : 1));
  }
}

TEST_CASE("invite server: over a stream timer I is zero") {
  script s(transport::tls);
  s.receive(request_text("INVITE"));
  s.layer.respond(s.server, response(603, "INVITE"));
  s.receive(request_text("ACK", "z9hG4bKabc", "b1"));
  s.pass(duration::zero());
  CHECK(s.take() == lines{"request INVITE", "server ended"});
}

TEST_CASE("invite server: in Accepted the INVITE is absorbed, 2xx pass, ACKs go up (RFC 6026 §7.1)") {
  script s;
  s.receive(request_text("INVITE"));
  s.layer.respond(s.server, response(200, "INVITE"));
  s.receive(request_text("INVITE"));
  s.pass(seconds(20));
  CHECK(s.sent.size() == 1);                                                // neither repeated nor sent again
  s.layer.respond(s.server, response(200, "INVITE"));                       // the callee repeats it
  s.layer.respond(s.server, response(200, "INVITE", "z9hG4bKabc", "fork")); // another one answered too
  CHECK(s.sent.size() == 3);
  s.layer.respond(s.server, response(486, "INVITE"));
  CHECK(s.sent.size() == 3);
  s.receive(request_text("ACK", "z9hG4bKackown", "b1"));
  s.receive(request_text("ACK", "z9hG4bKabc", "b1")); // some use the INVITE's branch
  CHECK(s.take() == lines{"request INVITE", "ack", "ack"});
  s.pass(seconds(12)); // timer L
  CHECK(s.take() == lines{"server ended"});
}

TEST_CASE("invite server: a 2xx after a rejection goes on, and the rejection stays the one that is repeated") {
  script s;
  s.receive(request_text("INVITE"));
  s.layer.respond(s.server, response(408, "INVITE"));
  s.layer.respond(s.server, response(200, "INVITE"));
  s.layer.respond(s.server, response(486, "INVITE"));
  s.pass(milliseconds(500));
  CHECK(s.take_sent() == lines{"SIP/2.0 408 Some Reason", "SIP/2.0 200 Some Reason", "SIP/2.0 408 Some Reason"});
}

TEST_CASE("invite server: a response that cannot be sent leaves the transaction to absorb what comes again") {
  script s(transport::tcp);
  s.receive(request_text("INVITE"));
  s.broken = true;
  s.layer.respond(s.server, response(200, "INVITE"));
  CHECK(s.layer.size() == 1);
  s.pass(seconds(32));
  CHECK(s.take() == lines{"request INVITE", "server ended"});
}

TEST_CASE("invite server: an ACK before any final response is dropped") {
  script s;
  s.receive(request_text("INVITE"));
  s.receive(request_text("ACK"));
  CHECK(s.take() == lines{"request INVITE"});
}

TEST_CASE("CANCEL finds its INVITE by branch and sent-by, whatever its To (RFC 3261 §9.2)") {
  script s;
  s.receive(request_text("INVITE"));
  const server_id invite = s.server;
  s.receive(request_text("CANCEL"), flow_over(transport::udp, "192.0.2.9:7000"));
  CHECK(s.take() == lines{"request INVITE", "cancel"});
  CHECK(s.cancelled_invite == invite);
  s.layer.respond(s.cancel_server, response(200, "CANCEL"));
  s.receive(request_text("CANCEL")); // again: the same answer
  CHECK(s.take_sent() == lines{"SIP/2.0 200 Some Reason", "SIP/2.0 200 Some Reason"});
  CHECK(s.take().empty());
}

TEST_CASE("CANCEL without an INVITE is told as such") {
  script s;
  s.receive(request_text("CANCEL"));
  CHECK(s.take() == lines{"cancel of nothing"});
  s.receive(request_text("MESSAGE", "z9hG4bKm"));
  s.receive(request_text("CANCEL", "z9hG4bKm")); // only an INVITE can be cancelled
  CHECK(s.take() == lines{"request MESSAGE", "cancel of nothing"});
}

TEST_CASE("a request that comes round by another way has another branch and is another transaction") {
  script s;
  s.receive(request_text("INVITE", "z9hG4bK1"));
  const server_id first = s.server;
  s.receive(request_text("INVITE", "z9hG4bK2")); // a spiral, or merged by a fork upstream (§8.2.2.2)
  CHECK(s.server != first);
  s.receive(request_text("INVITE", "z9hG4bK1", {}, {}, "1", "198.51.100.7:5060")); // another element's branch
  CHECK(s.take() == lines{"request INVITE", "request INVITE", "request INVITE"});
  CHECK(s.layer.size() == 3);
}

TEST_CASE("sent-by is compared without regard to case, the branch's cookie too") {
  script s;
  s.receive(request_text("INVITE", "z9hG4bK1", {}, {}, "1", "PC.example.com"));
  s.receive(request_text("INVITE", "z9hG4bK1", {}, {}, "1", "pc.EXAMPLE.com"));
  CHECK(s.take() == lines{"request INVITE"});
}

TEST_CASE("knows() tells what receive() would match") {
  script s;
  s.receive(request_text("INVITE"));
  CHECK(s.layer.knows(request("INVITE")));
  CHECK(s.layer.knows(request("ACK")));
  CHECK(s.layer.knows(request("CANCEL")));
  CHECK_FALSE(s.layer.knows(request("BYE")));
  CHECK_FALSE(s.layer.knows(request("INVITE", "z9hG4bKother")));
  CHECK_FALSE(s.layer.knows(response(200, "INVITE")));
}

TEST_CASE("branches older than RFC 3261: an INVITE is found by URI, tags, Call-ID, CSeq and Via (§17.2.3)") {
  script s;
  s.receive(request_text("INVITE", "1"));
  s.receive(request_text("INVITE", "1"));
  s.receive(request_text("INVITE", ""));               // another topmost Via
  s.receive(request_text("INVITE", "1", {}, {}, "2")); // another CSeq
  s.receive(request_text("INVITE", "1", "dialog"));    // another To tag
  CHECK(s.take() == lines{"request INVITE", "request INVITE", "request INVITE", "request INVITE"});
}

TEST_CASE("branches older than RFC 3261: the ACK is found by the To tag of our response") {
  script s;
  s.receive(request_text("INVITE", "1"));
  s.layer.respond(s.server, response(486, "INVITE", "1", "ours"));
  s.receive(request_text("ACK", "1", "else")); // of a 2xx by another way
  CHECK(s.take() == lines{"request INVITE", "ack"});
  s.receive(request_text("ACK", "1", "ours"));
  s.receive(request_text("ACK", "1", "ours"));
  CHECK(s.take().empty());
  s.pass(seconds(5));
  CHECK(s.take() == lines{"server ended"});
  s.receive(request_text("CANCEL", "1"));
  s.receive(request_text("ACK", "1", "ours"));
  CHECK(s.take() == lines{"cancel of nothing", "ack"});
}

TEST_CASE("branches older than RFC 3261: CANCEL finds the INVITE") {
  script s;
  s.receive(request_text("INVITE", "1"));
  s.receive(request_text("CANCEL", "1"));
  CHECK(s.take() == lines{"request INVITE", "cancel"});
}
