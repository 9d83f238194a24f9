#include "tests/unit/ring/members.hpp"

#include <cmath>
#include <map>

using namespace skald;
using namespace skald::dht;
using namespace skald::dht::testing;

namespace {

constexpr int aors = 100'000;

std::vector<ring_key> random_aors() {
  std::vector<ring_key> keys;
  for (int i = 0; i < aors; ++i) keys.push_back(key_of_aor("sip:user" + std::to_string(i) + "@example.com"));
  return keys;
}

double worst_deviation(const std::vector<ring_member>& members, const std::vector<ring_key>& keys) {
  const auto r = ring::build(members);
  std::map<node_id, int> owned;
  for (const ring_key& k : keys) ++owned[*r->owner(k)];
  double total = 0, worst = 0;
  for (const ring_member& m : members) total += m.capacity;
  for (const ring_member& m : members) worst = std::max(worst, std::abs(owned[m.id] / (aors * m.capacity / total) - 1));
  return worst;
}

} // namespace

TEST_CASE("ring: over 100 000 AoRs each of 5 nodes has its capacity's share within 10 %") {
  seeded_rng r(5);
  const auto keys = random_aors();
  for (const auto& capacities : {std::array{100U, 100U, 100U, 100U, 100U}, std::array{1U, 2U, 4U, 1U, 2U}, std::array{10U, 25U, 50U, 100U, 100U}}) {
    double worst = 0;
    for (int cluster = 0; cluster < 5; ++cluster) {
      std::vector<ring_member> members;
      for (const std::uint32_t c : capacities) members.push_back(random_member(r, c));
      worst = std::max(worst, worst_deviation(members, keys));
    }
    MESSAGE("worst deviation: ", worst);
    CHECK(worst < 0.10);
  }
}

TEST_CASE("ring: a sixth node takes its share and moves nothing else") {
  seeded_rng r(6);
  const auto keys = random_aors();
  for (int cluster = 0; cluster < 5; ++cluster) {
    std::vector<ring_member> members;
    for (int i = 0; i < 5; ++i) members.push_back(random_member(r));
    const auto before = ring::build(members);
    const ring_member sixth = random_member(r);
    members.push_back(sixth);
    const auto after = ring::build(members, before.get());
    int moved = 0;
    for (const ring_key& k : keys) {
      if (*before->owner(k) == *after->owner(k)) continue;
      ++moved;
      CHECK(*after->owner(k) == sixth.id);
    }
    CHECK(moved <= aors / 6 * 1.05);
    CHECK(moved >= aors / 6 * 0.95);
  }
}

TEST_CASE("ring: the key of an AoR is what sha1sum prints, its partition the first 16 bits (A7)") {
  const ring_key k = key_of_aor("sip:alice@example.com");
  CHECK(k.hex() == "39825720921e2b51f78742820d87ef48b3723b13");
  CHECK(partition_of(k) == partition{0x3982});
  CHECK(key_of_name("settings").hex().size() == 40);
}

TEST_CASE("ring: empty, of one and of two") {
  seeded_rng r(1);
  const auto none = ring::build({});
  CHECK(none->at(partition{7}).size == 0);
  CHECK(none->owner(key_of_name("x")) == nullptr);
  const auto a = random_member(r), b = random_member(r);
  const auto one = ring::build({a}, none.get());
  CHECK(one->at(partition{7}).size == 1);
  CHECK(one->at(partition{7}).has(a.id));
  CHECK(*one->owner(key_of_name("x")) == a.id);
  const auto two = ring::build({a, b, a}, one.get());
  CHECK(two->members().size() == 2);
  CHECK(two->at(partition{7}).size == 2);
  CHECK_FALSE(one->at(partition{7}).has(b.id));
}
