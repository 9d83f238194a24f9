#include "sip/message/contact.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/params.hpp"
#include "sip/message/uri.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sip;

namespace {

bool same(std::string_view a, std::string_view b) {
  const auto left = parse_uri(a), right = parse_uri(b);
  REQUIRE(left);
  REQUIRE(right);
  CHECK(equal(*left, *right) == equal(*right, *left));
  return equal(*left, *right);
}

std::string aor(std::string_view text) {
  const auto u = parse_uri(text);
  REQUIRE(u);
  return canonical_aor(*u, "Example.ORG").value_or("-");
}

} // namespace

TEST_CASE("uri: its parts are views (RFC 3261 §19.1.1)") {
  const auto u = parse_uri("sips:alice;day=tuesday:secret@[2001:db8::1]:5071;transport=TCP;lr?subject=x&priority=urgent");
  REQUIRE(u);
  CHECK(u->scheme == uri_scheme::sips);
  CHECK(u->user == "alice;day=tuesday");
  CHECK(u->password == "secret");
  CHECK(u->host == "[2001:db8::1]");
  CHECK(u->port == 5071);
  CHECK(u->param("Transport") == "TCP");
  CHECK(u->param("lr") == "");
  CHECK_FALSE(u->has_param("maddr"));
  CHECK(u->headers == "?subject=x&priority=urgent");
}

TEST_CASE("uri: what is ambiguous or empty is refused") {
  for (const char* bad : {"", "sip:", ":x", "sip:@a", "sip:a@", "sip:a@b@c", "sip:a:0", "sip:a:65536", "sip:a:", "sip:a b",
                          "<sip:a>", "sip:[::1", "sip:[::g]", "sip:2001:db8::10", "tel:", "tel:hello", "1sip:a", "sip:a\r\nb"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_uri(bad));
  }
  CHECK(parse_uri("urn:service:sos")->scheme == uri_scheme::other);
  CHECK(parse_uri("SIP:a.example.org")->scheme == uri_scheme::sip);
}

TEST_CASE("uri: equality is that of RFC 3261 §19.1.4") {
  CHECK(same("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"));
  CHECK(same("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"));
  CHECK(same("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"));
  CHECK(same("sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
             "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com"));
  CHECK(same("sip:alice@atlanta.com?subject=project%20x&priority=urgent",
             "sip:alice@atlanta.com?priority=urgent&subject=project%20x"));
  CHECK_FALSE(same("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"));
  CHECK_FALSE(same("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"));
  CHECK_FALSE(same("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"));
  CHECK_FALSE(same("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"));
  CHECK_FALSE(same("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"));
  CHECK_FALSE(same("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"));
  CHECK_FALSE(same("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"));
  CHECK_FALSE(same("sip:a%3Bb@c", "sip:a;b@c")); // a reserved character is not its escape
  CHECK_FALSE(same("sips:a@b", "sip:a@b"));
}

TEST_CASE("uri: one address of record has one canonical form") {
  CHECK(aor("sip:Alice@Example.ORG:5070;transport=tcp") == "sip:Alice@example.org");
  CHECK(aor("sips:%61lice@example.org.") == "sip:alice@example.org");
  CHECK(aor("sip:a%00b@example.org") == "sip:a%00b@example.org");
  CHECK(aor("sip:a%3bb@example.org") == "sip:a%3Bb@example.org");
  CHECK(aor("tel:+1-(555)-010.0;phone-context=x") == "sip:+15550100@example.org");
  CHECK(aor("sip:example.org") == "-");
  CHECK(aor("urn:x") == "-");
  CHECK(unescape("a%20b%4") == "a b%4");
}

TEST_CASE("name-addr: with and without brackets, quotes and white space") {
  const auto quoted = parse_name_addr("\"Bob \\\"B\\\" <x>\"  <sip:bob@b;user=phone>;tag=a1;x=\"q;r\"");
  REQUIRE(quoted);
  CHECK(quoted->display == "Bob \\\"B\\\" <x>");
  CHECK(quoted->uri_text == "sip:bob@b;user=phone");
  CHECK(quoted->tag() == "a1");
  CHECK(quoted->param("x") == "q;r");
  const auto plain = parse_name_addr("sip:bob@b;tag=a1");
  REQUIRE(plain);
  CHECK(plain->uri_text == "sip:bob@b");
  CHECK(plain->tag() == "a1");
  CHECK(parse_name_addr("Anna Lee<sip:a@b>")->display == "Anna Lee");
  for (const char* bad : {"", "<>", "<sip:a", "\"x <sip:a>", "a, b <sip:a>", "< sip:a>", "<sip:a>x", "sip:a?b=c", "<sip:a>;x=\"y"})
    CHECK_FALSE(parse_name_addr(bad));
}

TEST_CASE("params: walked, removed and added") {
  std::string_view rest = ";a=1; b ; ;c=\"x;y\"";
  CHECK(next_param(rest)->text == "a=1");
  CHECK(next_param(rest)->name == "b");
  const auto c = next_param(rest);
  CHECK(c->value == "\"x;y\"");
  CHECK_FALSE(next_param(rest));

  const auto u = parse_uri("sip:a@b:5070;stage=term;lr;KEY=1?x=y");
  REQUIRE(u);
  CHECK(without_params(*u, {"stage", "key"}) == "sip:a@b:5070;lr?x=y");
  CHECK(with_param(*u, "stage", "orig") == "sip:a@b:5070;lr;KEY=1;stage=orig?x=y");
  CHECK(with_param(*u, "ob", "") == "sip:a@b:5070;stage=term;lr;KEY=1;ob?x=y");
}

TEST_CASE("params: lists are split at the top level, quotes come and go") {
  CHECK(split_top_level("a, \"b,c\" , <d,e>;f,,", ',') == std::vector<std::string_view>{"a", "\"b,c\"", "<d,e>;f"});
  CHECK(quote("a\"b\\c\r\n") == "\"a\\\"b\\\\c  \"");
  CHECK(unquote(quote("a\"b\\c")) == "a\"b\\c");
  CHECK(escape_user("a b@c%") == "a%20b%40c%25");
}

TEST_CASE("contact: q, expires, instance, reg-id and ob (RFC 5626 §4.1)") {
  const auto c = parse_contact("<sip:a@192.0.2.1;ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\""
                               ";reg-id=1;q=0.75;expires=7200");
  REQUIRE(c);
  CHECK(c->instance == "urn:uuid:00000000-0000-1000-8000-000A95A0E128");
  CHECK(c->reg_id == 1u);
  CHECK(c->q == 750);
  CHECK(c->expires == 7200u);
  CHECK(c->ob);
  CHECK(parse_contact(" * ")->is_star);
  CHECK(parse_contact("<sip:a>;expires=99999999999")->expires == 4294967295u);
  CHECK_FALSE(parse_contact("<sip:a>;expires=soon")->expires);
  CHECK_FALSE(parse_contact("<sip:a>;reg-id=0")->reg_id);
  CHECK_FALSE(parse_contact("<nothing>"));
  CHECK(parse_qvalue("1.000") == 1000);
  CHECK(parse_qvalue("0.") == 0);
  for (const char* bad : {"", "2", "1.1", "0.1234", ".5", "0,5", "-1"}) CHECK_FALSE(parse_qvalue(bad));
}
