#include "base/rng.hpp"
#include "dht/mesh/framing.hpp"
#include "dht/mesh/kademlia_id.hpp"
#include "dht/mesh/record_look.hpp"

#include <algorithm>
#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;

namespace {
const mono_time t0{seconds(1)};
}

TEST_CASE("framing: what fits one record is one record") {
  const auto records = cut_message(mesh_channel::gossip, "hello", 1300, 1);
  REQUIRE(records.size() == 1);
  CHECK(records[0] == "\x01hello");
  reassembler r;
  const auto m = r.take(records[0], t0);
  REQUIRE((m && *m));
  CHECK((*m)->channel == mesh_channel::gossip);
  CHECK((*m)->bytes == "hello");
}

TEST_CASE("framing: fragments come together in any order, duplicates and all") {
  seeded_rng random(3);
  for (const std::size_t size : {1300u, 5000u, 65536u}) {
    const std::string bytes = random.bytes(size);
    auto records = cut_message(mesh_channel::kademlia, bytes, 1300, 9);
    REQUIRE(records.size() > 1);
    CHECK(std::ranges::all_of(records, [](const auto& x) { return x.size() <= 1300; }));
    for (std::size_t i = records.size(); i > 1; --i) std::swap(records[i - 1], records[random.below(i)]);
    reassembler r;
    std::optional<mesh_message> whole;
    for (const auto& record : records) {
      auto m = r.take(record, t0);
      REQUIRE(m.has_value());
      if (*m) whole = std::move(**m);
      else CHECK(r.take(record, t0).has_value());
    }
    REQUIRE(whole.has_value());
    CHECK(whole->bytes == bytes);
    CHECK(r.bytes_held() == 0);
  }
}

TEST_CASE("framing: assembly is bounded in messages, bytes and time") {
  reassembler r;
  for (std::uint32_t id = 0; id < 100; ++id) {
    auto first = cut_message(mesh_channel::gossip, std::string(3000, 'x'), 1300, id).front();
    CHECK(r.take(first, t0).has_value());
  }
  CHECK(r.bytes_held() <= mesh_partial_max * 1300);
  auto late = cut_message(mesh_channel::gossip, std::string(3000, 'y'), 1300, 500).front();
  CHECK(r.take(late, t0 + seconds(3)).has_value());
  CHECK(r.bytes_held() <= 1300);
  CHECK(cut_message(mesh_channel::gossip, std::string(mesh_message_bytes_max + 1, 'x'), 1300, 1).empty());
  // 128 fragments of 1300 bytes would be more than a message may be
  reassembler big;
  bool refused = false;
  for (int i = 0; i < 128; ++i) {
    std::string record("\x81\0\0\0\1", 5);
    record += static_cast<char>(i);
    record += static_cast<char>(128);
    refused = refused || !big.take(record + std::string(1300, 'x'), t0).has_value();
    CHECK(big.bytes_held() <= mesh_message_bytes_max);
  }
  CHECK(refused);
}

TEST_CASE("framing: records that follow no rule are errors") {
  reassembler r;
  for (const std::string& bad : {std::string(), std::string("\x02x"), std::string("\x81\0\0\0\1\0", 6), std::string("\x81\0\0\0\1\0\1x", 8), std::string("\x81\0\0\0\1\2\2x", 8)})
    CHECK_FALSE(r.take(bad, t0).has_value());
  REQUIRE(r.take(std::string("\x81\0\0\0\1\0\2x", 8), t0).has_value());
  CHECK_FALSE(r.take(std::string("\x81\0\0\0\1\1\3x", 8), t0).has_value()); // the same message, another count
}

TEST_CASE("a look at a datagram: DTLS or not, hello or not, sealed or not") {
  CHECK(look_at("").kind == record_kind::not_dtls);
  CHECK(look_at("REGISTER sip:example.com SIP/2.0").kind == record_kind::not_dtls);
  const std::string sealed("\x17\xfe\xfd\0\1\0\0\0\0\0\0\0\1x", 14), plain("\x14\xfe\xfd\0\0\0\0\0\0\0\0\0\1\1", 14);
  CHECK(look_at(sealed).kind == record_kind::sealed);
  CHECK(look_at(plain).kind == record_kind::plain);
  CHECK(look_at(plain.substr(0, 13)).kind == record_kind::not_dtls); // length points past the end
  std::string hello("\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x3a\1\0\0\x2e\0\0\0\0\0\0\0\x2e\xfe\xfd", 27);
  hello += std::string(32, 'r') + std::string(12, '\0');
  const auto look = look_at(hello);
  CHECK(look.kind == record_kind::client_hello);
  CHECK(look.random[31] == 'r');
}

TEST_CASE("the id in a Kademlia packet: none, one, or a contradiction") {
  const std::string id(20, 'i'), other(20, 'o');
  const auto bin = [](const std::string& b) { return std::string("\xc4\x14", 2) + b; };
  const std::string one_key = "\x81\xa1", id_key = "\x81\xa2id", two_ids = "\x82\xa2id";
  const auto one = claimed_id(one_key + "a" + id_key + bin(id));
  REQUIRE((one && *one));
  CHECK((*one)->view() == id);
  CHECK(claimed_id(one_key + "r" + id_key + bin(id)).value()->view() == id);
  CHECK_FALSE(claimed_id(one_key + "v" + id_key + bin(id)).value().has_value());
  CHECK(claimed_id("\x82\xa1" "a" + id_key + bin(id) + "\xa1r" + id_key + bin(other)).error() == errc::not_authentic);
  CHECK(claimed_id(one_key + "a" + two_ids + bin(id) + "\xa2id" + bin(other)).error() == errc::not_authentic);
  CHECK(claimed_id(one_key + "a" + id_key + "\xa2xx").error() == errc::not_authentic);
  CHECK(claimed_id(one_key + "a" + "\x80").error() == errc::missing);
  CHECK(claimed_id("\x93\1\2\3").error() == errc::malformed);
  CHECK(claimed_id("\xc1").error() == errc::malformed);
  CHECK(claimed_id("").error() == errc::malformed);
}
