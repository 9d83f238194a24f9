#include "script.hpp"

using namespace skald;
using namespace skald::sip;
using namespace skald::sip::test;

TEST_CASE("invite client: over UDP it repeats at T1, doubling, and gives up after 64*T1 (RFC 3261 §17.1.1.2)") {
  script s;
  const mono_time start = s.clk.now();
  s.layer.send_request(request("INVITE"), s.way);
  s.pass(milliseconds(31'999));
  CHECK(s.sent_after(start) == std::vector<long>{0, 500, 1500, 3500, 7500, 15500, 31500});
  CHECK(s.take().empty());
  s.pass(milliseconds(1));
  CHECK(s.take() == lines{"timed out", "client ended"});
  CHECK(s.layer.size() == 0);
  CHECK(s.timers.size() == 0);
}

TEST_CASE("invite client: on streams and links nothing is repeated, but timer B runs") {
  for (const transport t : {transport::tcp, transport::tls, transport::link}) {
    script s(t);
    s.layer.send_request(request("INVITE"), s.way);
    s.pass(milliseconds(31'999));
    CHECK(s.sent.size() == 1);
    CHECK(s.take().empty());
    s.pass(milliseconds(1));
    CHECK(s.take() == lines{"timed out", "client ended"});
  }
}

TEST_CASE("invite client: a 1xx stops the repeating and timer B") {
  script s;
  s.layer.send_request(request("INVITE"), s.way);
  s.receive(response_text(100, "INVITE"));
  s.receive(response_text(180, "INVITE"));
  s.pass(seconds(170));
  CHECK(s.sent.size() == 1);
  CHECK(s.take() == lines{"response 100", "response 180"});
  CHECK(s.layer.size() == 1);
}

TEST_CASE("invite client: a non-2xx is acknowledged, each time it comes again, and goes up once (RFC 3261 §17.1.1.3)") {
  script s;
  s.layer.send_request(
      request("INVITE", "z9hG4bKabc", {}, "Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n"), s.way);
  s.take_sent();
  s.receive(response_text(486, "INVITE"));
  s.receive(response_text(486, "INVITE"));
  REQUIRE(s.sent.size() == 2);
  CHECK(s.sent[0].bytes == s.sent[1].bytes);
  CHECK(s.take() == lines{"response 486"});

  const auto ack = message::parse(s.sent[0].bytes);
  REQUIRE(ack.has_value());
  CHECK(ack->method_id() == method::ack);
  CHECK(ack->request_uri() == "sip:bob@example.com");
  CHECK(*ack->line(header::to) == "<sip:bob@example.com>;tag=b1");
  CHECK(*ack->line(header::from) == "Alice <sip:alice@example.com>;tag=a1");
  CHECK(*ack->line(header::cseq) == "1 ACK");
  CHECK(*ack->line(header::call_id) == "call-1@pc");
  CHECK(ack->values(header::via).size() == 1);
  CHECK(*ack->line(header::via) == "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKabc");
  CHECK(ack->values(header::route).size() == 2);

  s.pass(milliseconds(31'999)); // timer D
  CHECK(s.take().empty());
  s.pass(milliseconds(1));
  CHECK(s.take() == lines{"client ended"});
}

TEST_CASE("invite client: over a stream timer D is zero, and the end is told on the next turn") {
  script s(transport::tcp);
  s.layer.send_request(request("INVITE"), s.way);
  s.receive(response_text(404, "INVITE"));
  CHECK(s.take_sent() == lines{"INVITE sip:bob@example.com SIP/2.0", "ACK sip:bob@example.com SIP/2.0"});
  CHECK(s.take() == lines{"response 404"});
  s.pass(duration::zero());
  CHECK(s.take() == lines{"client ended"});
}

TEST_CASE("invite client: each further 2xx goes up in Accepted, without an ACK of ours, for 64*T1 (RFC 6026 §7.2)") {
  script s;
  s.layer.send_request(request("INVITE"), s.way);
  s.take_sent();
  s.receive(response_text(200, "INVITE"));
  s.receive(response_text(200, "INVITE"));
  s.receive(response_text(200, "INVITE", "z9hG4bKabc", "fork2"));
  s.receive(response_text(486, "INVITE")); // no sense any more
  s.receive(response_text(180, "INVITE"));
  CHECK(s.take() == lines{"response 200", "response 200", "response 200"});
  CHECK(s.sent.empty());
  s.pass(seconds(32));
  CHECK(s.take() == lines{"client ended"});
  s.receive(response_text(200, "INVITE"));
  CHECK(s.take() == lines{"stray 200"});
}

TEST_CASE(
    "invite client: a late 2xx of a proxy that had given up is passed on after the rejection (RFC 3261 §16.7 step 5)") {
  script s;
  s.layer.send_request(request("INVITE"), s.way);
  s.receive(response_text(408, "INVITE"));
  s.receive(response_text(200, "INVITE"));
  CHECK(s.take() == lines{"response 408", "response 200"});
}

TEST_CASE("invite client: a send that fails is told on the next turn, when the caller knows the id") {
  script s;
  s.broken = true;
  s.layer.send_request(request("INVITE"), s.way);
  CHECK(s.take().empty());
  s.pass(duration::zero());
  CHECK(s.take() == lines{"flow gone", "client ended"});
  CHECK(s.timers.size() == 0);
}

TEST_CASE("invite client: a repeat that cannot be sent ends it (RFC 3261 §17.1.4)") {
  script s;
  s.layer.send_request(request("INVITE"), s.way);
  s.broken = true;
  s.pass(milliseconds(500));
  CHECK(s.take() == lines{"flow gone", "client ended"});
}

TEST_CASE("invite client: an ACK that cannot be sent does not take the answer away") {
  script s;
  s.layer.send_request(request("INVITE"), s.way);
  s.broken = true;
  s.receive(response_text(486, "INVITE"));
  CHECK(s.take() == lines{"response 486", "client ended"});
}

TEST_CASE("invite client: CANCEL waits for a 1xx (RFC 3261 §9.1)") {
  script s;
  const client_id id = s.layer.send_request(
      request("INVITE", "z9hG4bKabc", {}, "Route: <sip:p1.example.com;lr>\r\nRequire: 100rel\r\n"), s.way);
  CHECK(s.layer.cancel(id, R"(SIP;cause=200;text="Call completed elsewhere")"));
  CHECK(s.sent.size() == 1);
  s.receive(response_text(180, "INVITE"));
  REQUIRE(s.sent.size() == 2);
  const auto cancel = message::parse(s.sent[1].bytes);
  REQUIRE(cancel.has_value());
  CHECK(cancel->method_id() == method::cancel);
  CHECK(*cancel->line(header::cseq) == "1 CANCEL");
  CHECK(*cancel->line(header::to) == "<sip:bob@example.com>");
  CHECK(*cancel->line(header::via) == "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKabc");
  CHECK(*cancel->line(header::route) == "<sip:p1.example.com;lr>");
  CHECK(*cancel->line(header::reason) == R"(SIP;cause=200;text="Call completed elsewhere")");
  CHECK_FALSE(cancel->has(header::require));
}

TEST_CASE("invite client: CANCEL is a transaction of its own, of which the user hears nothing") {
  script s;
  const client_id id = s.layer.send_request(request("INVITE"), s.way);
  s.receive(response_text(180, "INVITE"));
  CHECK(s.layer.cancel(id, {}));
  CHECK(s.layer.cancel(id, {})); // once is enough
  s.pass(milliseconds(500));     // timer E of the CANCEL
  CHECK(s.take_sent() == lines{"INVITE sip:bob@example.com SIP/2.0", "CANCEL sip:bob@example.com SIP/2.0",
                               "CANCEL sip:bob@example.com SIP/2.0"});
  s.receive(response_text(200, "CANCEL"));
  s.receive(response_text(487, "INVITE"));
  CHECK(s.take() == lines{"response 180", "response 487"});
  CHECK(s.take_sent() == lines{"ACK sip:bob@example.com SIP/2.0"});
  CHECK_FALSE(s.layer.cancel(id, {}));
  s.pass(seconds(40));
  CHECK(s.take() == lines{"client ended"});
  CHECK(s.layer.size() == 0);
}

TEST_CASE("invite client: a CANCEL held back is dropped when the final response comes first") {
  script s;
  const client_id id = s.layer.send_request(request("INVITE"), s.way);
  CHECK(s.layer.cancel(id, {}));
  s.receive(response_text(200, "INVITE"));
  CHECK(s.sent.size() == 1);
}

TEST_CASE("invite client: without a final answer 64*T1 after the CANCEL it is given up (RFC 3261 §9.1)") {
  script s(transport::tcp);
  const client_id id = s.layer.send_request(request("INVITE"), s.way);
  s.receive(response_text(180, "INVITE"));
  s.layer.cancel(id, {});
  s.receive(response_text(200, "CANCEL"));
  s.pass(seconds(32));
  CHECK(s.take() == lines{"response 180", "timed out", "client ended"});
  CHECK(s.layer.size() == 0);
}

TEST_CASE("invite client: abandoned, it still acknowledges and cancels, and tells nobody") {
  script s;
  const client_id id = s.layer.send_request(request("INVITE"), s.way);
  s.layer.cancel(id, {});
  s.layer.abandon(id);
  s.receive(response_text(180, "INVITE"));
  s.receive(response_text(200, "CANCEL"));
  s.receive(response_text(487, "INVITE"));
  CHECK(s.take().empty());
  CHECK(s.take_sent() == lines{"INVITE sip:bob@example.com SIP/2.0", "CANCEL sip:bob@example.com SIP/2.0",
                               "ACK sip:bob@example.com SIP/2.0"});
  s.pass(seconds(32));
  CHECK(s.layer.size() == 0);
  CHECK(s.take().empty());
}

TEST_CASE("invite client: abandoned while it rings, it does not live for ever") {
  for (const bool before_1xx : {true, false}) {
    script s;
    const client_id id = s.layer.send_request(request("INVITE"), s.way);
    if (before_1xx) s.layer.abandon(id);
    s.receive(response_text(180, "INVITE"));
    s.layer.abandon(id);
    s.pass(seconds(179));
    CHECK(s.layer.size() == 1);
    s.pass(seconds(2));
    CHECK(s.layer.size() == 0);
  }
}

TEST_CASE("invite client: a stream that breaks fails those who wait on it, and no others") {
  script s(transport::tls);
  s.layer.send_request(request("INVITE", "z9hG4bK1"), s.way);
  s.layer.send_request(request("MESSAGE", "z9hG4bK2"), s.way);
  flow other = s.way;
  other.serial = 8;
  s.layer.send_request(request("INVITE", "z9hG4bK3"), other);
  s.layer.send_request(request("INVITE", "z9hG4bK4"), s.way);
  s.receive(response_text(200, "INVITE", "z9hG4bK4"));
  s.take();
  s.layer.flow_gone(s.way);
  CHECK(s.take() == lines{"flow gone", "client ended", "flow gone", "client ended"});
  CHECK(s.layer.size() == 2); // the one on the other connection, and the one that has its 2xx
}

TEST_CASE("invite client: the user may cancel the others from inside on_response, and break the flow") {
  script s(transport::tcp);
  const client_id a = s.layer.send_request(request("INVITE", "z9hG4bK1"), s.way);
  const client_id b = s.layer.send_request(request("INVITE", "z9hG4bK2"), s.way);
  s.receive(response_text(180, "INVITE", "z9hG4bK1"));
  s.on_response_hook = [&](client_id id, int status) {
    if (id == b && status == 200) s.layer.cancel(a, {});
    if (status == 487) s.layer.flow_gone(s.way);
  };
  s.receive(response_text(200, "INVITE", "z9hG4bK2"));
  CHECK(s.sent.back().start_line() == "CANCEL sip:bob@example.com SIP/2.0");
  s.receive(response_text(487, "INVITE", "z9hG4bK1"));
  s.pass(seconds(33));
  CHECK(s.layer.size() == 0);
}

TEST_CASE("a response is matched by branch and method (RFC 3261 §17.1.3)") {
  script s;
  s.layer.send_request(request("INVITE"), s.way);
  s.receive(response_text(200, "CANCEL"));
  s.receive(response_text(200, "INVITE", "z9hG4bKother"));
  s.receive(response_text(200, "INVITE", "z9hG4bKABC")); // our branches differ by case
  CHECK(s.take() == lines{"stray 200", "stray 200", "stray 200"});
}
