#include "tests/unit/ring/members.hpp"

#include "dht/ring/score.hpp"

using namespace skald;
using namespace skald::dht;
using namespace skald::dht::testing;

namespace {

// The rule of A4 as the page writes it: sort, then choose.
std::vector<node_id> by_the_page(const std::vector<ring_member>& members, std::uint32_t p) {
  std::vector<std::pair<std::uint64_t, const ring_member*>> s;
  for (const ring_member& m : members) s.emplace_back(score::cost(score::seed_of(m.id), score::inverse(m.capacity), p), &m);
  std::ranges::sort(s, [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : a.second->id < b.second->id; });
  std::vector<node_id> list;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, s.size()); ++i) list.push_back(s[i].second->id);
  if (list.size() == 3 && s[0].second->zone == s[1].second->zone)
    for (const auto& [cost, m] : s)
      if (m->zone != s[0].second->zone) {
        list[2] = m->id;
        break;
      }
  return list;
}

void check_equal(const ring& a, const ring& b) {
  std::uint32_t differing = 0;
  for (std::uint32_t p = 0; p < partition_count; ++p) differing += ids(a, p) != ids(b, p);
  CHECK(differing == 0);
}

std::uint32_t takeovers_by_strangers(const ring& before, const ring& after) {
  std::uint32_t strangers = 0;
  for (std::uint32_t p = 0; p < partition_count; ++p) {
    const auto heir = ids(after, p);
    if (!heir.empty()) strangers += !before.at(partition{static_cast<std::uint16_t>(p)}).has(heir[0]);
  }
  return strangers;
}

} // namespace

TEST_CASE("ring: the table is the page's rule, with and without zones") {
  seeded_rng r(11);
  for (const auto& members : {in_zones(r, {1}), in_zones(r, {2}), in_zones(r, {5}), in_zones(r, {1, 1}), in_zones(r, {2, 2, 1}, capacities::mixed),
                              in_zones(r, {5, 1}), in_zones(r, {3, 3, 3}, capacities::mixed), in_zones(r, {20, 15, 5}, capacities::mixed)}) {
    const auto made = ring::build(members);
    std::uint32_t differing = 0;
    for (std::uint32_t p = 0; p < partition_count; ++p) differing += ids(*made, p) != by_the_page(members, p);
    CHECK(differing == 0);
  }
}

TEST_CASE("ring: whichever node or zone falls, in every partition a holder takes over (A5)") {
  seeded_rng r(12);
  for (const auto& sizes : {std::initializer_list<int>{2, 2, 1}, {3, 3, 3}, {3, 3}, {4, 4, 4, 4}, {5, 1}, {5}}) {
    for (const auto c : {capacities::equal, capacities::mixed}) {
      const auto members = in_zones(r, sizes, c);
      const auto before = ring::build(members);
      for (const ring_member& dead : members) {
        const auto after = ring::build(without(members, [&](const ring_member& m) { return m.id == dead.id; }), before.get());
        CHECK(takeovers_by_strangers(*before, *after) == 0);
        const auto zone_gone = ring::build(without(members, [&](const ring_member& m) { return m.zone == dead.zone; }), before.get());
        CHECK(takeovers_by_strangers(*before, *zone_gone) == 0);
      }
    }
  }
}

TEST_CASE("ring: a join or a leave replaces at most one entry of a list, and only a newcomer owns what it did not hold") {
  seeded_rng r(13);
  for (const auto& sizes : {std::initializer_list<int>{3}, {2, 2, 1}, {3, 3, 3}, {10}, {7, 6, 5}}) {
    const auto members = in_zones(r, sizes, capacities::mixed);
    const auto full = ring::build(members);
    for (const ring_member& one : members) {
      const auto less = ring::build(without(members, [&](const ring_member& m) { return m.id == one.id; }), full.get());
      std::uint32_t too_many = 0, strangers = 0;
      for (std::uint32_t p = 0; p < partition_count; ++p) {
        const auto with = ids(*full, p), sans = ids(*less, p);
        const auto missing = std::ranges::count_if(with, [&](const node_id& id) { return std::ranges::find(sans, id) == sans.end(); });
        too_many += missing > 1;
        if (std::ranges::find(with, one.id) == with.end()) too_many += with != sans;
        strangers += with[0] != one.id && std::ranges::find(sans, with[0]) == sans.end();
      }
      CHECK(too_many == 0);
      CHECK(strangers == 0);
    }
  }
}

TEST_CASE("ring: incremental equals from scratch for joins, leaves, capacities and zones, at several sizes") {
  seeded_rng r(14);
  for (const int n : {1, 2, 3, 4, 5, 8, 20, 60}) {
    auto members = in_zones(r, {(n + 2) / 3, (n + 1) / 3, n / 3}, capacities::mixed);
    auto incremental = ring::build(members);
    for (int step = 0; step < 12; ++step) {
      const auto at = static_cast<std::size_t>(r.below(members.size()));
      switch (members.size() == 1 ? 0 : step % 6) {
        case 0: members.push_back(random_member(r, 3, "b")); break;
        case 1: members.erase(members.begin() + static_cast<std::ptrdiff_t>(at)); break;
        case 2: members[at].capacity = members[at].capacity % 4 + 1; break;
        case 3: members[at].zone = members[at].zone == "a" ? "c" : "a"; break;
        case 4:
          members.erase(members.begin() + static_cast<std::ptrdiff_t>(at));
          members.push_back(random_member(r, 2, "d"));
          break;
        case 5:
          for (int i = 0; i < 3; ++i) members.push_back(random_member(r, 1, "a"));
          break;
      }
      incremental = ring::build(members, incremental.get());
      check_equal(*incremental, *ring::build(members));
    }
  }
}

TEST_CASE("ring: the lists without one member, and the partitions that list one, are those of the tables themselves") {
  seeded_rng r(7);
  for (const auto& members : {in_zones(r, {1}), in_zones(r, {3}), in_zones(r, {2, 2, 1}, capacities::mixed), in_zones(r, {20, 17}, capacities::mixed)}) {
    const auto whole = ring::build(members);
    const node_id gone = members.front().id;
    const auto rest = ring::build(without(members, [&](const ring_member& m) { return m.id == gone; }));
    std::vector<partition> listed, wanted;
    whole->for_each_of(gone, [&](partition p) { listed.push_back(p); });
    for (std::uint32_t i = 0; i < partition_count; ++i)
      if (const partition p{static_cast<std::uint16_t>(i)}; whole->at(p).has(gone)) wanted.push_back(p);
    CHECK(listed == wanted);
    const auto lists = whole->without(gone, wanted);
    REQUIRE(lists.size() == wanted.size());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      const auto other = rest->at(wanted[i]);
      differing += !std::ranges::equal(lists[i].span(), other.span(), [](const node_id* a, const node_id* b) { return *a == *b; });
    }
    CHECK(differing == 0);
    rest->for_each_of(gone, [](partition) { FAIL("not a member"); });
  }
}
