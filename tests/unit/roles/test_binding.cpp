#include "roles/core/binding.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {

binding sample() {
  binding b;
  b.aor = "sip:alice@example.com";
  b.contact = "sip:alice@192.0.2.1:5062;transport=tcp";
  b.contact_params = ";q=0.5;+sip.instance=\"<urn:uuid:1>\";reg-id=1";
  b.q = 500;
  b.instance = "<urn:uuid:1>";
  b.reg_id = 1;
  b.call_id = "abc@host";
  b.cseq = 4711;
  b.path = {"<sip:TOKEN@node1.example.com;lr;ob>", "<sip:sbc.example.net;lr>"};
  b.edge = "node1";
  b.user_agent = "phone/1.0";
  b.updated = 1'700'000'000'123;
  b.expires = 1'700'000'600'123;
  b.id = 0xfedcba9876543210u;
  return b;
}

} // namespace

TEST_CASE("binding: what was encoded decodes to the same") {
  const binding b = sample();
  const auto back = decode_binding(encode(b));
  REQUIRE(back.has_value());
  CHECK(back->aor == b.aor);
  CHECK(back->contact == b.contact);
  CHECK(back->contact_params == b.contact_params);
  CHECK(back->q == b.q);
  CHECK(back->instance == b.instance);
  CHECK(back->reg_id == b.reg_id);
  CHECK(back->call_id == b.call_id);
  CHECK(back->cseq == b.cseq);
  CHECK(back->path == b.path);
  CHECK(back->edge == b.edge);
  CHECK(back->user_agent == b.user_agent);
  CHECK(back->updated == b.updated);
  CHECK(back->expires == b.expires);
  CHECK(back->id == b.id);
}

TEST_CASE("binding: a later version's extra elements are ignored, missing ones take the default (design §10)") {
  std::string bytes = encode(sample());
  REQUIRE(static_cast<unsigned char>(bytes[0]) == 0x9e); // array of 14
  bytes[0] = static_cast<char>(0x9f);                    // of 15
  bytes += static_cast<char>(0xc3);
  CHECK(decode_binding(bytes).has_value());
  const std::string two = "\x92\xa5" "sip:a" "\xa7" "sip:b@c";
  const auto short_one = decode_binding(two);
  REQUIRE(short_one.has_value());
  CHECK(short_one->contact == "sip:b@c");
  CHECK(short_one->q == 1000);
}

TEST_CASE("binding: bytes that are none are refused, every cut of a good one too") {
  CHECK_FALSE(decode_binding("").has_value());
  CHECK_FALSE(decode_binding("\xc3").has_value());
  CHECK_FALSE(decode_binding("\x90").has_value());
  const std::string bytes = encode(sample());
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(decode_binding(bytes.substr(0, n)).has_value());
}

TEST_CASE("binding: keyed by instance and reg-id where the phone gives both, else by the contact (RFC 5626 §6)") {
  binding b = sample();
  CHECK(b.item() == "i:<urn:uuid:1>:1");
  b.reg_id = 0;
  CHECK(b.item() == "c:sip:alice@192.0.2.1:5062;transport=tcp");
  b.contact = "SIP:%61lice@Host.Example:5062;Transport=TCP";
  CHECK(b.item() == "c:sip:alice@host.example:5062;transport=tcp");
}
