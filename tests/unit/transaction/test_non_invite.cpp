#include "script.hpp"

using namespace skald;
using namespace skald::sip;
using namespace skald::sip::test;

TEST_CASE("non-invite client: over UDP it repeats up to every T2 and gives up after 64*T1 (RFC 3261 §17.1.2.2)") {
  script s;
  const mono_time start = s.clk.now();
  s.layer.send_request(request("MESSAGE"), s.way);
  s.pass(seconds(32));
  CHECK(s.sent_after(start) == std::vector<long>{0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500});
  CHECK(s.take() == lines{"timed out", "client ended"});
  CHECK(s.timers.size() == 0);
}

TEST_CASE("non-invite client: after a 1xx it goes on repeating, every T2") {
  script s;
  const mono_time start = s.clk.now();
  s.layer.send_request(request("MESSAGE"), s.way);
  s.pass(milliseconds(100));
  s.receive(response_text(100, "MESSAGE"));
  s.pass(milliseconds(8900));
  CHECK(s.sent_after(start) == std::vector<long>{0, 500, 4500, 8500});
  s.pass(seconds(23));
  CHECK(s.take() == lines{"response 100", "timed out", "client ended"});
}

TEST_CASE("non-invite client: streams and links: sent once, timer F runs, K is zero") {
  for (const transport t : {transport::tcp, transport::link}) {
    script s(t);
    s.layer.send_request(request("OPTIONS", "z9hG4bK1"), s.way);
    s.pass(seconds(32));
    CHECK(s.sent.size() == 1);
    CHECK(s.take() == lines{"timed out", "client ended"});
    s.layer.send_request(request("OPTIONS", "z9hG4bK2"), s.way);
    s.receive(response_text(200, "OPTIONS", "z9hG4bK2"));
    s.pass(duration::zero());
    CHECK(s.take() == lines{"response 200", "client ended"});
  }
}

TEST_CASE("non-invite client: over UDP the final response again is absorbed for T4") {
  script s;
  s.layer.send_request(request("BYE", "z9hG4bKabc", "b1"), s.way);
  s.receive(response_text(200, "BYE"));
  s.receive(response_text(200, "BYE"));
  s.receive(response_text(100, "BYE"));
  s.pass(milliseconds(4999));
  CHECK(s.take() == lines{"response 200"});
  CHECK(s.sent.size() == 1);
  s.pass(milliseconds(1));
  CHECK(s.take() == lines{"client ended"});
}

TEST_CASE("non-invite client: it cannot be cancelled") {
  script s;
  const client_id id = s.layer.send_request(request("MESSAGE"), s.way);
  CHECK_FALSE(s.layer.cancel(id, {}));
  CHECK_FALSE(s.layer.cancel(client_id{99}, {}));
}

TEST_CASE("non-invite client: methods that nobody knows match by their names") {
  script s;
  s.layer.send_request(request("FROB"), s.way);
  s.receive(response_text(200, "FRUB"));
  s.receive(response_text(200, "FROB"));
  CHECK(s.take() == lines{"stray 200", "response 200"});
}

TEST_CASE(
    "non-invite server: silent until answered, then the last answer again; further finals are discarded (§17.2.2)") {
  script s;
  s.receive(request_text("MESSAGE"));
  s.receive(request_text("MESSAGE"));
  CHECK(s.sent.empty());
  s.layer.respond(s.server, response(100, "MESSAGE"));
  s.receive(request_text("MESSAGE"));
  s.layer.respond(s.server, response(202, "MESSAGE"));
  s.layer.respond(s.server, response(500, "MESSAGE"));
  s.receive(request_text("MESSAGE"));
  CHECK(s.take_sent() == lines{"SIP/2.0 100 Some Reason", "SIP/2.0 100 Some Reason", "SIP/2.0 202 Some Reason",
                               "SIP/2.0 202 Some Reason"});
  s.pass(seconds(32)); // timer J
  CHECK(s.take() == lines{"request MESSAGE", "server ended"});
  s.layer.respond(s.server, response(200, "MESSAGE")); // too late: harmless
  CHECK(s.sent.empty());
}

TEST_CASE("non-invite server: a challenge is not kept, and its repetition is challenged again (§26.3.2.4)") {
  script s;
  s.receive(request_text("REGISTER"));
  s.layer.respond(s.server, response(401, "REGISTER"));
  s.pass(duration::zero());
  CHECK(s.layer.size() == 0);
  CHECK(s.timers.size() == 0);
  s.receive(request_text("REGISTER"));
  s.layer.respond(s.server, response(401, "REGISTER"));
  CHECK(s.take() == lines{"request REGISTER", "server ended", "request REGISTER"});
  CHECK(s.take_sent().size() == 2);
}

TEST_CASE("non-invite server: over a limit answers to REGISTER are not kept, others are") {
  script s;
  const auto fill = [&](const char* method, const char* branch) {
    s.receive(request_text(method, branch));
    s.layer.respond(s.server, response(200, method));
    s.sent.clear();
  };
  for (std::size_t i = 0; i <= register_answers_max; ++i) fill("MESSAGE", ("z9hG4bK" + std::to_string(i)).c_str());
  const std::size_t before = s.layer.size();
  fill("REGISTER", "z9hG4bKr");
  fill("MESSAGE", "z9hG4bKm");
  s.pass(duration::zero());
  CHECK(s.layer.size() == before + 1);
}

TEST_CASE("non-invite server: over a stream it ends at once after its answer") {
  script s(transport::tcp);
  s.receive(request_text("REGISTER"));
  s.layer.respond(s.server, response(200, "REGISTER"));
  CHECK(s.take() == lines{"request REGISTER"});
  s.pass(duration::zero());
  CHECK(s.take() == lines{"server ended"});
  CHECK(s.layer.size() == 0);
}

TEST_CASE("the layer takes its timers with it") {
  manual_clock clk;
  scheduler timers;
  script other;
  {
    transaction_layer layer(clk, timers, other, other);
    layer.send_request(request("INVITE"), other.way);
    layer.receive(request("MESSAGE", "z9hG4bKm"), {.flow = other.way, .at = clk.now()});
    layer.respond(other.server, response(200, "MESSAGE", "z9hG4bKm"));
    CHECK(timers.size() == 3);
  }
  CHECK(timers.size() == 0);
}
