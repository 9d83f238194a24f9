#include "sip/token/token.hpp"

#include "base/encoding.hpp"
#include "base/rng.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sip;

namespace {

constexpr unix_ms day = 86'400'000;

key_ring ring_of(std::initializer_list<cluster_key> keys) {
  return key_ring(std::vector<cluster_key>(keys));
}
const cluster_key first{.id = 0x01020304, .made = 0, .secret = std::string(32, 'a')};
const cluster_key second{.id = 0x05060708, .made = day, .secret = std::string(32, 'b')};

token sample(std::string_view local, std::string_view remote) {
  return {.kind = token_kind::dialog,
          .side = token_side::to,
          .transport = transport::tls,
          .node = 0xfedcba9876543210,
          .worker = 65535,
          .serial = 0xffffffff,
          .local = *endpoint::parse(local),
          .remote = *endpoint::parse(remote),
          .partition = partition{65535},
          .binding_id = ~0ull,
          .dialog_hash = dialog_hash("call@pc", "tag")};
}

} // namespace

TEST_CASE("token: what is sealed opens the same, for every kind, side, transport and family") {
  const key_ring keys = ring_of({first});
  for (const auto kind : {token_kind::path, token_kind::dialog})
    for (const auto side : {token_side::from, token_side::to})
      for (const auto way : {transport::udp, transport::tcp, transport::tls, transport::link})
        for (const auto* local : {"192.0.2.1:5060", "[2001:db8::1]:5061"})
          for (const auto* remote : {"203.0.113.255:65535", "[2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:65535"}) {
            token t = sample(local, remote);
            t.kind = kind;
            t.side = side;
            t.transport = way;
            const std::string text = seal_token(t, keys, day);
            CHECK(text.size() < 128);
            CHECK(looks_like_token(text));
            const auto opened = open_token(text, keys);
            REQUIRE(opened.has_value());
            CHECK(*opened == t);
            CHECK(opened->flow() ==
                  flow{.transport = way, .worker = 65535, .serial = 0xffffffff, .local = t.local, .remote = t.remote});
          }
}

TEST_CASE("token: it is fit for the user part of a URI without escaping") {
  const std::string text = seal_token(sample("[::1]:1", "[::1]:2"), ring_of({first}), day);
  CHECK(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
        std::string::npos);
}

TEST_CASE("token: any key of the ring opens it, a key that is gone does not") {
  const token t = sample("192.0.2.1:5060", "192.0.2.9:5060");
  const std::string old = seal_token(t, ring_of({first}), day);
  CHECK(open_token(old, ring_of({first, second})).has_value());
  CHECK(open_token(old, ring_of({second})).error() == errc::not_authentic);
  CHECK(key_id_of_token(old) == first.id);
  CHECK(key_id_of_token(seal_token(t, ring_of({first, second}), 2 * day)) == second.id);
  // Another cluster may have drawn the same id.
  const cluster_key stranger{.id = first.id, .made = 0, .secret = std::string(32, 'z')};
  CHECK(open_token(old, ring_of({stranger})).error() == errc::not_authentic);
}

TEST_CASE("token: each changed bit, the version's and the key id's too, keeps it shut") {
  const key_ring keys = ring_of({first, second});
  const std::string bytes = *from_base64url(seal_token(sample("192.0.2.1:5060", "[2001:db8::9]:5060"), keys, day));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    const auto opened = open_token(to_base64url(changed), keys);
    REQUIRE_FALSE(opened.has_value());
    CHECK(opened.error() == (bit < 8 ? errc::unsupported : errc::not_authentic));
  }
}

TEST_CASE("token: user parts of other people are malformed, of any length") {
  const key_ring keys = ring_of({first});
  seeded_rng rng(1);
  for (std::size_t n = 0; n < 300; ++n) {
    CHECK_FALSE(open_token(std::string(n, 'A'), keys).has_value());
    CHECK_FALSE(open_token(to_base64url(rng.bytes(n)), keys).has_value());
    CHECK_FALSE(open_token(rng.bytes(n), keys).has_value());
  }
  CHECK(open_token("alice", keys).error() == errc::malformed);
  CHECK_FALSE(looks_like_token("alice"));
  CHECK(key_id_of_token("alice") == 0);
  CHECK(seal_token({}, key_ring{}, day).empty());
}

TEST_CASE("token: a callee cannot tell two flows apart by their address, nor shorten a v6 to a v4") {
  const key_ring keys = ring_of({first});
  const std::string a = seal_token(sample("192.0.2.1:5060", "192.0.2.9:5060"), keys, day);
  const std::string b = seal_token(sample("192.0.2.1:5060", "192.0.2.9:5061"), keys, day);
  CHECK(a.substr(8) != b.substr(8));
  CHECK(a.find(to_base64url("\xc0\x00\x02")) == std::string::npos);
}

TEST_CASE("token: binding ids and dialog hashes keep their parts apart") {
  CHECK(binding_id("sip:a@x", "urn:1", 1) == binding_id("sip:a@x", "urn:1", 1));
  CHECK(binding_id("sip:a@x", "urn:1", 1) != binding_id("sip:a@x", "urn:1", 2));
  CHECK(binding_id("sip:a@x", "urn:1", 1) != binding_id("sip:a@x", "urn:11"));
  CHECK(binding_id("sip:a@x", "b") != binding_id("sip:a@", "xb"));
  CHECK(dialog_hash("ab", "c") != dialog_hash("a", "bc"));
  CHECK(dialog_hash("call", "tag") < (1ull << 48));
}
