#include "sip/message/message.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/via.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sip;

namespace {

constexpr std::string_view invite_text = "INVITE sip:bob@example.org SIP/2.0\r\n"
                                         "Via: SIP/2.0/UDP a.example.org;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK2\r\n"
                                         "v: SIP/2.0/UDP c:5070;branch=z9hG4bK3\r\n"
                                         "Max-Forwards: 70\r\n"
                                         "f: \"Alice, A.\" <sip:alice@example.org>;tag=1\r\n"
                                         "t : <sip:bob@example.org>\r\n"
                                         "i: call-1@a\r\n"
                                         "CSeq: 1\r\n  INVITE\r\n"
                                         "Supported: path,\r\n\touTbound , 100rel\r\n"
                                         "X-Note:\r\n"
                                         "Content-Type: text/plain\r\n"
                                         "l: 4\r\n\r\nbodysurplus";

message parsed(std::string_view text) {
  auto m = message::parse(std::string(text));
  REQUIRE(m);
  return std::move(*m);
}

} // namespace

TEST_CASE("message: one pass takes compact, folded and spaced header lines (RFC 3261 §7.3)") {
  const message m = parsed(invite_text);
  CHECK(m.is_request());
  CHECK(m.method_id() == method::invite);
  CHECK(m.request_uri() == "sip:bob@example.org");
  CHECK(m.line(header::call_id) == "call-1@a");
  CHECK(m.line(header::cseq) == "1 INVITE");
  CHECK(m.line("x-note") == "");
  CHECK(m.line("x-absent") == std::nullopt);
  CHECK(m.body() == "body");
  CHECK(m.values(header::via).size() == 3);
  CHECK(m.first(header::via) == "SIP/2.0/UDP a.example.org;branch=z9hG4bK1");
  CHECK(m.lists(header::supported, "outbound"));
  CHECK_FALSE(m.lists(header::supported, "out"));
  CHECK(parse_name_addr(*m.line(header::from))->tag() == "1");
}

TEST_CASE("message: line ends may be bare LF, and CRLFs may stand before the start line") {
  const message m = parsed("\r\n\r\nSIP/2.0 200\nCSeq: 7 BYE\nX: a\n b\n\nrest");
  CHECK(m.status() == 200);
  CHECK(m.reason() == "");
  CHECK(m.method_id() == method::bye);
  CHECK(m.method_name() == "BYE");
  CHECK(m.line("x") == "a b");
  CHECK(m.body() == "rest");
}

TEST_CASE("message: another version parses and says so") {
  const auto m = message::parse("OPTIONS sip:a SIP/7.0\r\nVia: x\r\n\r\n");
  REQUIRE(m);
  CHECK_FALSE(m->version_ok());
  CHECK_FALSE(message::parse("OPTIONS sip:a HTTP/1.1\r\n\r\n"));
}

TEST_CASE("message: what ends too early is incomplete, a line that is no header malformed") {
  CHECK(message::parse("OPTIONS sip:a SIP/2.0\r\nl: 5\r\n\r\nabcd").error() == errc::incomplete);
  CHECK(message::parse("OPTIONS sip:a SIP/2.0\r\nl: 5\r\n").error() == errc::incomplete);
  CHECK(message::parse("OPTIONS sip:a SIP/2.0\r\nnonsense\r\n\r\n").error() == errc::malformed);
  CHECK(message::parse("OPTIONS sip:a SIP/2.0\r\nX: a\rb\r\n\r\n").error() == errc::malformed);
  CHECK(message::parse("").error() == errc::incomplete);
  const auto lenient = message::parse_lenient("OPTIONS sip:a SIP/2.0\r\nnonsense\r\nl: 5\r\n\r\nabcd");
  REQUIRE(lenient);
  CHECK(lenient->flaws_found());
  CHECK(lenient->body() == "abcd");
}

TEST_CASE("message: more header lines than the limit are refused") {
  std::string text = "OPTIONS sip:a SIP/2.0\r\n";
  for (std::size_t i = 0; i < header_fields_max; ++i) text += "X: 1\r\n";
  CHECK(message::parse(text + "\r\n"));
  CHECK(message::parse(text + "X: 1\r\n\r\n").error() == errc::too_large);
}

TEST_CASE("message: values are taken off and put on one by one") {
  message m = parsed(invite_text);
  m.prepend(header::via, "SIP/2.0/TLS me;branch=z9hG4bK0");
  CHECK(m.values(header::via).size() == 4);
  m.remove_first_value(header::via);
  m.remove_first_value(header::via);
  CHECK(m.first(header::via) == "SIP/2.0/TCP b;branch=z9hG4bK2");
  m.replace_first_value(header::via, "SIP/2.0/TCP b;branch=z9hG4bK2;received=192.0.2.1");
  CHECK(m.values(header::via) == std::vector<std::string_view>{"SIP/2.0/TCP b;branch=z9hG4bK2;received=192.0.2.1",
                                                                "SIP/2.0/UDP c:5070;branch=z9hG4bK3"});
  m.filter_values(header::supported, [](std::string_view v) { return v != "outbound" && v != "ouTbound"; });
  CHECK(m.values(header::supported) == std::vector<std::string_view>{"path", "100rel"});
  m.set(header::max_forwards, "69");
  m.append(header::record_route, "<sip:a;lr>");
  m.append("X-Note", "second");
  m.set_request_uri("sip:bob@192.0.2.2");
  m.remove("x-note");
  m.set_body("application/sdp", "v=0\r\n");

  const message again = parsed(m.serialize());
  CHECK(again.request_uri() == "sip:bob@192.0.2.2");
  CHECK(again.line(header::max_forwards) == "69");
  CHECK(again.line(header::content_length) == "5");
  CHECK(again.line("x-note") == std::nullopt);
  CHECK(again.body() == "v=0\r\n");
  CHECK(again.serialize() == m.serialize());
}

TEST_CASE("message: copies edit independently and outlive each other") {
  auto original = std::make_unique<message>(parsed(invite_text));
  original->set(header::subject, "first");
  message copy = *original;
  copy.set(header::subject, "copy");
  original->set(header::subject, "original");
  const message third = copy;
  CHECK(original->line(header::subject) == "original");
  original.reset();
  CHECK(copy.line(header::subject) == "copy");
  CHECK(third.serialize() == copy.serialize());
  const message moved = std::move(copy);
  CHECK(moved.line(header::call_id) == "call-1@a");
}

TEST_CASE("message: a response takes its method from CSeq") {
  message m = message::response(180, "Ringing");
  m.append(header::cseq, "3 INVITE");
  CHECK(m.method_id() == method::invite);
  m.append(header::via, "SIP/2.0/UDP a");
  CHECK(m.serialize() == "SIP/2.0 180 Ringing\r\nCSeq: 3 INVITE\r\nVia: SIP/2.0/UDP a\r\nContent-Length: 0\r\n\r\n");
}

TEST_CASE("header ids: every name finds itself, in any case, and compact forms find theirs") {
  for (int i = 0; i < static_cast<int>(header::other); ++i) {
    const auto h = static_cast<header>(i);
    std::string name(to_string(h));
    CHECK(header_from(name) == h);
    for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    CHECK(header_from(name) == h);
    CHECK(header_from(name + "x") == header::other);
  }
  CHECK(header_from("V") == header::via);
  CHECK(header_from("z") == header::other);
  CHECK(method_from("invite") == method::other);
  for (int i = 0; i < static_cast<int>(method::other); ++i)
    CHECK(method_from(to_string(static_cast<method>(i))) == static_cast<method>(i));
}

TEST_CASE("via: sent-protocol and sent-by may be spaced (RFC 4475 §3.1.1.1)") {
  const auto v = parse_via("SIP  / 2.0 /UDP   [2001:db8::9] : 5070 ; received=[2001:db8::1];rport ; branch = z9hG4bKx");
  REQUIRE(v);
  CHECK(v->transport == "UDP");
  CHECK(v->host == "[2001:db8::9]");
  CHECK(v->port == 5070);
  CHECK(v->branch == "z9hG4bKx");
  CHECK(v->param("rport") == "");
  CHECK(v->param("maddr") == std::nullopt);
  CHECK_FALSE(parse_via("SIP/2.0/UDP"));
  CHECK_FALSE(parse_via("SIP/2.0/UDP a:99999"));
  CHECK_FALSE(parse_via("SIP/2.0/UDP a b"));
  CHECK_FALSE(parse_via(";"));
}

TEST_CASE("cseq: a number below 2^31 and a method") {
  CHECK(parse_cseq("0009 INVITE")->number == 9);
  CHECK(parse_cseq("9\tFOO")->method_name == "FOO");
  CHECK_FALSE(parse_cseq("2147483648 INVITE"));
  CHECK_FALSE(parse_cseq("9INVITE"));
  CHECK_FALSE(parse_cseq("9"));
  CHECK(parse_number("4294967295") == 4294967295u);
  CHECK(parse_number("4294967296").error() == errc::too_large);
  CHECK_FALSE(parse_number("-1"));
  CHECK_FALSE(parse_number(""));
}

TEST_CASE("edit: of two empty lines of a header that is no list, the first is taken alone") {
  auto m = skald::sip::message::request("OPTIONS", "sip:example.com");
  m.append(skald::sip::header::subject, "");
  m.append(skald::sip::header::subject, "");
  m.remove_first_value(skald::sip::header::subject);
  CHECK(m.values(skald::sip::header::subject).size() == 1);
}
