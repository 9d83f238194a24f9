#include "base/encoding.hpp"
#include "base/rng.hpp"
#include "dht/swim/wire.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;

namespace {

node_id id_of(std::uint8_t n) {
  node_id id;
  id.bytes.fill(n);
  return id;
}

swim_message full_message() {
  swim_message m;
  m.kind = swim_kind::ask;
  m.echo = true;
  m.sender = {.id = {}, .self = {1'700'000'000'000, 3}, .state = member_state::draining, .version = 77};
  m.digest = 0xfedcba9876543210;
  m.sequence = 0xffffffff;
  m.third = id_of(3);
  m.clock = 1'700'000'000'123;
  m.base_epoch = 0xfedcba987;
  m.base_check = 0xfedcba98;
  m.rumours.push_back({.about = {id_of(4), {5, 6}, member_state::active, 7}, .accusers = {1, ~0ULL, 2}, .accuser_count = 3});
  m.rumours.push_back({.about = {id_of(5), {5, 0}, member_state::dead, 0}});
  return m;
}

void check_equal(const swim_message& a, const swim_message& b) {
  CHECK(a.kind == b.kind);
  CHECK(a.echo == b.echo);
  CHECK(a.sender == b.sender);
  CHECK(a.digest == b.digest);
  CHECK(a.sequence == b.sequence);
  CHECK(a.third == b.third);
  CHECK(a.clock == b.clock);
  CHECK(a.base_epoch == b.base_epoch);
  CHECK(a.base_check == b.base_check);
  REQUIRE(a.rumours.size() == b.rumours.size());
  for (std::size_t i = 0; i < a.rumours.size(); ++i) {
    CHECK(a.rumours[i].about == b.rumours[i].about);
    CHECK(a.rumours[i].accusers == b.rumours[i].accusers);
  }
}

} // namespace

TEST_CASE("wire: every kind reads back, a heartbeat is small") {
  swim_message m = full_message(), read;
  for (const auto kind : {swim_kind::heartbeat, swim_kind::ping, swim_kind::ack, swim_kind::ask, swim_kind::relayed, swim_kind::gossip}) {
    m.kind = kind;
    REQUIRE(decode(encode(m), read));
    check_equal(m, read);
  }
  swim_message beat;
  beat.sender = m.sender;
  beat.sender.version = ~0ULL;
  beat.digest = m.digest;
  CHECK(encode(beat).size() == 2 + 32);
  REQUIRE(decode(encode(beat), read));
  check_equal(beat, read);
}

TEST_CASE("wire: the stored samples of version 1 still read, those from before bases travelled too") {
  const auto sample = from_hex("1001" // gossip, version 1
                               "9b0201cf0000018bcfe5680003024dcffedcba9876543210ceffffffff"
                               "c4140303030303030303030303030303030303030303cf0000018bcfe5687b92"
                               "96c4140404040404040404040404040404040404040404050601079301cfffffffffffffffff02"
                               "96c41405050505050505050505050505050505050505050500030090");
  REQUIRE(sample);
  swim_message expected = full_message(), read;
  expected.kind = swim_kind::ping;
  std::string with_base = *sample;
  with_base[2] = static_cast<char>(0x9d);
  with_base += *from_hex("cf0000000fedcba987cefedcba98");
  CHECK(to_hex(encode(expected)) == to_hex(with_base));
  REQUIRE(decode(with_base, read));
  check_equal(expected, read);
  expected.base_epoch = expected.base_check = 0;
  REQUIRE(decode(*sample, read));
  check_equal(expected, read);
}

TEST_CASE("wire: a full datagram stays below the limit") {
  swim_message m = full_message(), read;
  rumour r{.about = {id_of(4), {life_max, incarnation_max}, member_state::left, ~0ULL}, .accusers = {~0ULL, ~0ULL, ~0ULL}, .accuser_count = 3};
  m.sender.version = ~0ULL;
  m.sender.self.life = life_max;
  m.rumours.assign(swim_rumours_max, r);
  CHECK(encode(m).size() <= swim_datagram_bytes_max);
  CHECK(decode(encode(m), read));
}

TEST_CASE("wire: cut short, changed or too long, a datagram is refused or read, but never past its end") {
  const std::string whole = encode(full_message());
  swim_message read;
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK_FALSE(decode(whole.substr(0, n), read));
  CHECK(decode(std::string(2000, 'x'), read).error() == errc::too_large);
  std::string other = whole;
  other[0] = 17;
  CHECK(decode(other, read).error() == errc::unsupported);
  seeded_rng r(9);
  for (int i = 0; i < 20000; ++i) {
    std::string broken = whole;
    for (std::uint64_t k = 1 + r.below(3); k > 0; --k) broken[r.below(broken.size())] = static_cast<char>(r.next());
    static_cast<void>(decode(broken, read));
  }
}

TEST_CASE("wire: a life or an incarnation without room above it is refused") {
  swim_message m = full_message(), read;
  m.rumours[0].about.self.life = life_max + 1;
  CHECK_FALSE(decode(encode(m), read));
  m = full_message();
  m.sender.self.incarnation = incarnation_max + 1;
  CHECK_FALSE(decode(encode(m), read));
}

TEST_CASE("wire: a base whose members are not sorted, or twice, is refused") {
  CHECK_FALSE(decode_members(encode(members_list{1, {}, {7, {id_of(2), id_of(1)}}})));
  CHECK_FALSE(decode_members(encode(members_list{1, {}, {7, {id_of(2), id_of(2)}}})));
  CHECK_FALSE(decode_members(encode(members_list{1, {}, {base_epoch_max + 1, {}}})));
}

TEST_CASE("wire: lists of members read back; every truncation is an error") {
  members_list l{1'700'000'000'000, {}, {7, {id_of(1), id_of(2), id_of(9)}}, 12345};
  for (std::uint8_t i = 0; i < 40; ++i) l.facts.push_back({id_of(i), {i, i}, static_cast<member_state>(i % 5), i});
  const std::string whole = encode(l);
  const auto read = decode_members(whole);
  REQUIRE(read);
  CHECK(read->cluster_time == l.cluster_time);
  CHECK(read->facts == l.facts);
  CHECK(read->agreed == l.agreed);
  CHECK(read->asked == l.asked);
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK_FALSE(decode_members(whole.substr(0, n)));
}
