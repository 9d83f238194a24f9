#include "roles/core/binding.hpp"

#include "base/encoding.hpp"

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

// sample() as it has been stored since the first version, without the number of elements; and what was appended since.
const std::string stored_hex =
    "b57369703a616c696365406578616d706c652e636f6dd9267369703a616c696365403139322e302e322e313a353036323b74"
    "72616e73706f72743d746370d92c3b713d302e353b2b7369702e696e7374616e63653d223c75726e3a757569643a313e223b"
    "7265672d69643d31cd01f4ac3c75726e3a757569643a313e01a861626340686f7374cd126792d9233c7369703a544f4b454e"
    "406e6f6465312e6578616d706c652e636f6d3b6c723b6f623eb83c7369703a7362632e6578616d706c652e6e65743b6c723e"
    "a56e6f646531a970686f6e652f312e30cf0000018bcfe5687bcf0000018bcfee903bcffedcba9876543210";
// Two former flows.
const std::string former_hex =
    "929307d9213c7369703a4f4c44406e6f6465322e6578616d706c652e636f6d3b6c723b6f623ecf0000018bcfe9fbe093cffe"
    "dcba9876543210d9203c7369703a4f4c444552406e6f6465332e6578616d706c652e636f6d3b6c723ecf0000018bcfe87540";

std::string stored(std::string_view elements_hex) {
  return *from_hex(std::string(elements_hex));
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

TEST_CASE("binding: the stored form is what nodes of other versions read and write; former flows are appended (design §10)") {
  binding b = sample();
  const std::string first_version = stored("9e" + stored_hex); // array of 14
  CHECK(encode(b) == first_version); // one that has not moved is as it was
  const auto back = decode_binding(first_version);
  REQUIRE(back.has_value());
  CHECK(back->id == b.id);
  CHECK(back->former.empty());

  b.former = {{7, "<sip:OLD@node2.example.com;lr;ob>", 1'700'000'300'000}, {b.id, "<sip:OLDER@node3.example.com;lr>", 1'700'000'200'000}};
  const std::string moved = stored("9f" + stored_hex + former_hex);
  CHECK(encode(b) == moved);
  const auto again = decode_binding(moved);
  REQUIRE(again.has_value());
  CHECK(again->former == b.former);
  CHECK(again->id == b.id);
  for (std::size_t n = 0; n < moved.size(); ++n) CHECK_FALSE(decode_binding(moved.substr(0, n)).has_value());
}

TEST_CASE("binding: a later version's extra elements are ignored, missing ones take the default (design §10)") {
  CHECK(decode_binding(stored("dc0010" + stored_hex + former_hex + "c3")).has_value()); // array of 16
  // A former flow of more than we know.
  const auto wider = decode_binding(stored("9f" + stored_hex + "91" "94" "07" "a178" "01" "c3"));
  REQUIRE(wider.has_value());
  REQUIRE(wider->former.size() == 1);
  CHECK(wider->former[0] == former_flow{7, "x", 1});
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
