#include "sip/message/auth_params.hpp"
#include "sip/message/message.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/validate.hpp"
#include "sip/message/via.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sip;

namespace {

std::string request_text(std::string_view replaced = "", std::string_view by = "") {
  std::string text = "INVITE sip:bob@example.org SIP/2.0\r\n"
                     "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
                     "Via: SIP/2.0/TCP b.example.org;branch=z9hG4bK2\r\n"
                     "Max-Forwards: 70\r\n"
                     "From: <sip:alice@example.org>;tag=1\r\n"
                     "To: <sip:bob@example.org>\r\n"
                     "Call-ID: c1\r\n"
                     "CSeq: 1 INVITE\r\n"
                     "Timestamp: 54\r\n"
                     "Record-Route: <sip:p;lr>\r\n"
                     "Contact: <sip:alice@192.0.2.1>\r\n"
                     "Content-Length: 4\r\n\r\nbody";
  if (!replaced.empty()) text.replace(text.find(replaced), replaced.size(), by);
  return text;
}

message parsed(std::string text) {
  auto m = message::parse_lenient(std::move(text));
  REQUIRE(m);
  return std::move(*m);
}

std::optional<verdict> judged(std::string_view replaced, std::string_view by) {
  return validate(parsed(request_text(replaced, by)));
}

std::string stamped(std::string_view via_value, const char* source) {
  message m = message::request("OPTIONS", "sip:a");
  m.append(header::via, via_value);
  m.append(header::via, "SIP/2.0/UDP below");
  REQUIRE(stamp_top_via(m, *endpoint::parse(source)));
  CHECK(m.values(header::via).size() == 2);
  return std::string(*m.first(header::via));
}

std::string destination(std::string_view via_value) {
  message m = message::response(200, "OK");
  m.append(header::via, via_value);
  const auto where = destination_of(m);
  REQUIRE(where);
  return std::string(where->host) + ' ' + std::to_string(where->port);
}

} // namespace

TEST_CASE("reply: Vias, From, To, Call-ID and CSeq are copied, nothing else (RFC 3261 §8.2.6.2)") {
  const message m = parsed(request_text());
  const message r = make_reply(m, 486, {}, "t2");
  CHECK(r.serialize() == "SIP/2.0 486 Busy Here\r\n"
                         "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
                         "Via: SIP/2.0/TCP b.example.org;branch=z9hG4bK2\r\n"
                         "From: <sip:alice@example.org>;tag=1\r\n"
                         "To: <sip:bob@example.org>;tag=t2\r\n"
                         "Call-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n");
  CHECK(r.method_id() == method::invite);
  const message trying = make_reply(m, 100, {}, "t2");
  CHECK(trying.line("timestamp") == "54");
  CHECK(parse_name_addr(*trying.line(header::to))->tag().empty());
  CHECK(make_reply(parsed(request_text("<sip:bob@example.org>\r\n", "<sip:bob@example.org>;tag=x\r\n")), 200, "Fine", "t2")
            .line(header::to) == "<sip:bob@example.org>;tag=x");
}

TEST_CASE("reply: outlives its request") {
  message r = message::response(500, "x");
  {
    const message m = parsed(request_text());
    r = make_reply(m, 404, "No Bob", "t");
  }
  CHECK(r.line(header::call_id) == "c1");
  CHECK(r.reason() == "No Bob");
  CHECK(default_reason(480) == "Temporarily Unavailable");
  CHECK(default_reason(499) == "Client Error");
}

TEST_CASE("validate: a sound request passes, a lost or doubled or broken header is 400") {
  CHECK_FALSE(validate(parsed(request_text())));
  CHECK(judged("Max-Forwards: 70", "Max-Forwards: 256")->status == 400);
  CHECK_FALSE(judged("Max-Forwards: 70\r\n", ""));
  CHECK(judged("CSeq: 1 INVITE", "CSeq: 1 BYE")->answer);
  CHECK(judged("Call-ID: c1", "Call-ID: c1\r\nCall-ID: c2")->reason == "Repeated Single Header");
  CHECK(judged("sip:bob@example.org SIP", "<sip:bob@example.org> SIP")->reason == "Bad Request-URI");
  CHECK(judged("Record-Route: <sip:p;lr>", "Route: nonsense")->reason == "Bad Route");
  CHECK(judged("Content-Length: 4", "Content-Length: 5")->status == 400);
  CHECK(judged("SIP/2.0\r\nVia", "SIP/3.0\r\nVia")->status == 505);
  CHECK(judged("Contact: <sip:alice@192.0.2.1>", "Contact: *")->reason == "Bad Contact");
  CHECK_FALSE(judged("sip:bob@example.org SIP", "tel:+15550100 SIP"));
}

TEST_CASE("validate: where an answer would find nobody there is silence") {
  CHECK_FALSE(judged("Call-ID: c1\r\n", "")->answer);
  CHECK_FALSE(judged("Via: SIP/2.0/UDP 192.0.2.1", "Via: nonsense")->answer);
  std::string ack = request_text("CSeq: 1 INVITE", "CSeq: 1 BYE");
  ack.replace(0, 6, "ACK");
  CHECK_FALSE(validate(parsed(ack))->answer);
  const auto response = message::parse("SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n");
  REQUIRE(response);
  CHECK_FALSE(validate(*response)->answer);
}

TEST_CASE("via stamp: received and rport are written where the source differs or was asked for (RFC 3581 §4)") {
  CHECK(stamped("SIP/2.0/UDP 192.0.2.1;branch=z9", "192.0.2.1:5060") == "SIP/2.0/UDP 192.0.2.1;branch=z9");
  CHECK(stamped("SIP/2.0/UDP 192.0.2.1:5070;branch=z9;rport", "192.0.2.1:5070") ==
        "SIP/2.0/UDP 192.0.2.1:5070;branch=z9;received=192.0.2.1;rport=5070");
  CHECK(stamped("SIP/2.0/UDP 192.0.2.1", "192.0.2.1:5061") == "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1;rport=5061");
  CHECK(stamped("SIP/2.0/UDP a.example.org;rport;branch=z9", "[2001:db8::1]:4000") ==
        "SIP/2.0/UDP a.example.org;branch=z9;received=2001:db8::1;rport=4000");
  CHECK(stamped("SIP/2.0/UDP 192.0.2.1;received=198.51.100.9;rport=1;branch=z9", "192.0.2.1:5060") ==
        "SIP/2.0/UDP 192.0.2.1;branch=z9;received=192.0.2.1;rport=5060");
}

TEST_CASE("response destination: received and rport, then maddr, then sent-by (RFC 3261 §18.2.2)") {
  CHECK(destination("SIP/2.0/UDP a:5070;received=192.0.2.9;rport=4000") == "192.0.2.9 4000");
  CHECK(destination("SIP/2.0/UDP a:5070;received=192.0.2.9") == "192.0.2.9 5070");
  CHECK(destination("SIP/2.0/UDP a:5070;maddr=192.0.2.8") == "192.0.2.8 5070");
  CHECK(destination("SIP/2.0/TLS a") == "a 5061");
  CHECK(response_destination{.host = "[2001:db8::1]", .port = 7}.address() == endpoint::parse("[2001:db8::1]:7"));
  CHECK_FALSE(response_destination{.host = "a.example.org", .port = 7}.address());
}

TEST_CASE("auth params: scheme, tokens and quoted strings") {
  const auto a = parse_auth_params("Digest username=\"a\\\"b, c\", realm = \"x=y\",nc=00000001 , qop=auth,uri=\"sip:a\"");
  REQUIRE(a);
  CHECK(a->scheme == "Digest");
  CHECK(a->get("USERNAME") == "a\\\"b, c");
  CHECK(a->get("realm") == "x=y");
  CHECK(a->get("nc") == "00000001");
  CHECK(a->params.size() == 5);
  CHECK(a->params[0].quoted);
  CHECK_FALSE(a->params[3].quoted);
  CHECK_FALSE(a->get("opaque"));
  CHECK(parse_auth_params("NoOneKnowsThisScheme opaque-data=here")->get("opaque-data") == "here");
  for (const char* bad : {"", "Digest x", "Digest a=\"b", "Digest a=\"b\"c", "Digest a=1,A=2", "Digest =1", "Digest a=b c"})
    CHECK_FALSE(parse_auth_params(bad));
}
