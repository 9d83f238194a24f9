#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/endpoint.hpp"
#include "base/ids.hpp"
#include "base/key_ring.hpp"
#include "base/socket_address.hpp"

#include <doctest/doctest.h>

using namespace skald;

TEST_CASE("encoding: base64url and hex give back what they were given") {
  for (const std::string s : {"", "a", "ab", "abc", "\xff\xfe\xfd\xfc"}) {
    CHECK(from_base64url(to_base64url(s)) == s);
    CHECK(from_base64(to_base64(s)) == s);
    CHECK(from_hex(to_hex(s)) == s);
  }
  CHECK_FALSE(from_base64url("a").has_value());
  CHECK_FALSE(from_hex("0g").has_value());
}

TEST_CASE("crypto: known answers") {
  CHECK(to_hex(crypto::md5("")) == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(to_hex(crypto::sha1("abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(to_hex(crypto::sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("crypto: what was sealed opens only with the same key, context and bytes") {
  const std::string key(32, 'k');
  const std::string sealed = crypto::siv_seal(key, "ctx", "hello");
  CHECK(crypto::siv_open(key, "ctx", sealed) == "hello");
  CHECK_FALSE(crypto::siv_open(key, "other", sealed).has_value());
  std::string altered = sealed;
  altered[3] ^= 1;
  CHECK_FALSE(crypto::siv_open(key, "ctx", altered).has_value());
  CHECK_FALSE(crypto::siv_open(std::string(32, 'x'), "ctx", sealed).has_value());
}

TEST_CASE("endpoint: IPv4, IPv6 and ports") {
  CHECK(endpoint::parse("192.0.2.1:5060")->text() == "192.0.2.1:5060");
  CHECK(endpoint::parse("[2001:db8::1]:5061")->text() == "[2001:db8::1]:5061");
  CHECK(endpoint::parse("2001:db8::1", 5060)->text() == "[2001:db8::1]:5060");
  CHECK_FALSE(endpoint::parse("192.0.2.1:99999").has_value());
  CHECK_FALSE(endpoint::parse("192.0.2.256").has_value());
  CHECK(ip_address::parse("10.1.2.3")->is_private());
}

TEST_CASE("ids: a partition is the key's top 16 bits") {
  const auto key = ring_key::from_hex("abcd000000000000000000000000000000000001");
  REQUIRE(key.has_value());
  CHECK(partition_of(*key) == partition{0xabcd});
  CHECK(key->hex() == "abcd000000000000000000000000000000000001");
}

TEST_CASE("key ring: a key signs only when every node had 5 s to learn it, the founder's first at once") {
  key_ring ring({{1, 1000, "a"}});
  CHECK(ring.signing(1000)->id == 1);
  ring = ring.merged_with(key_ring({{2, 10'000, "b"}}));
  CHECK(ring.signing(12'000)->id == 1);
  CHECK(ring.signing(15'000)->id == 2);
  CHECK(ring.find(1)->secret == "a");
}

TEST_CASE("endpoint: through a sockaddr and back; an address of another family is none") {
  for (const std::string_view text : {"192.0.2.1:5060", "[2001:db8::1]:5061"}) {
    sockaddr_storage raw;
    const endpoint e = *endpoint::parse(text);
    CHECK(to_sockaddr(e, raw) > 0);
    CHECK(from_sockaddr(raw) == e);
  }
  sockaddr_storage local{};
  local.ss_family = AF_UNIX;
  CHECK(from_sockaddr(local) == endpoint{});
}
