#include "base/rng.hpp"
#include "dht/ring/ring.hpp"
#include "dht/store/hlc.hpp"
#include "dht/store/tables.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;

namespace {

constexpr unix_ms t0 = 1'700'000'000'000;

record make(int key, std::string item, std::string value, unix_ms time, unix_ms expires = 0, bool removed = false,
            std::uint64_t writer = 1) {
  return {table::bindings, key_of_aor("sip:" + std::to_string(key)), std::move(item), std::move(value),
          {static_cast<std::uint64_t>(time) << 16, writer}, expires, removed};
}

} // namespace

TEST_CASE("tables: merging is commutative and idempotent, whatever the order") {
  seeded_rng random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<record> all;
    for (int i = 0; i < 60; ++i) {
      const bool removed = random.chance(0.2);
      all.push_back(make(static_cast<int>(random.below(3)), "item " + std::to_string(random.below(3)),
                         removed ? "" : "value " + std::to_string(random.below(4)),
                         t0 + static_cast<unix_ms>(random.below(6)), removed ? 0 : t0 + 1'000'000, removed,
                         1 + random.below(2)));
    }
    memory_tables a, b;
    for (const auto& r : all) a.merge(r, t0);
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.below(i)]);
    for (const auto& r : all) b.merge(r, t0);
    for (const auto& r : all) CHECK_FALSE(b.merge(r, t0));
    for (int k = 0; k < 3; ++k) {
      const auto key = key_of_aor("sip:" + std::to_string(k));
      CHECK(a.all(table::bindings, key) == b.all(table::bindings, key));
      CHECK(a.digest(partition_of(key)) == b.digest(partition_of(key)));
    }
  }
}

TEST_CASE("tables: what expired is not read, shrinks to a stub, and is reclaimed an hour after its version") {
  memory_tables t;
  const auto key = key_of_aor("sip:1");
  REQUIRE(t.merge(make(1, "phone", "v", t0, t0 + 60'000), t0));
  CHECK(t.live(table::bindings, key, t0 + 59'999).size() == 1);
  CHECK(t.live(table::bindings, key, t0 + 60'000).empty());
  t.sweep(t0 + 61'000, 100);
  REQUIRE(t.all(table::bindings, key).size() == 1);
  CHECK(t.all(table::bindings, key)[0].value.empty());
  // A refresh for an hour that was made before, from the log of a node that restarts: it must not come back.
  CHECK_FALSE(t.merge(make(1, "phone", "older", t0 - 1000, t0 + 3'599'000), t0 + 61'000));
  CHECK(t.live(table::bindings, key, t0 + 61'000).empty());
  t.sweep(t0 + 3'659'000, 100);
  CHECK(t.all(table::bindings, key).size() == 1);
  t.sweep(t0 + 3'661'000, 100);
  CHECK(t.all(table::bindings, key).empty());
  CHECK(t.digest(partition_of(key)) == 0);
  CHECK(t.count().bytes == 0);
  CHECK(t.count().volatile_bytes == 0);
}

TEST_CASE("tables: a stub is the same record to a merge, on either side") {
  memory_tables a, b;
  const auto full = make(1, "phone", "v", t0, t0 + 1000);
  auto stub = full;
  stub.value.clear();
  CHECK_FALSE(supersedes(full, stub));
  CHECK_FALSE(supersedes(stub, full));
  a.merge(full, t0);
  a.sweep(t0 + 2000, 10);
  b.merge(full, t0);
  CHECK(a.digest(partition_of(full.key)) == b.digest(partition_of(full.key)));
}

TEST_CASE("tables: a durable tombstone is kept for good") {
  memory_tables t;
  auto r = make(1, "", "", t0, 0, true);
  r.table = table::subscribers;
  REQUIRE(t.merge(r, t0));
  t.sweep(t0 + 1'000'000'000'000, 100);
  CHECK(t.all(table::subscribers, r.key).size() == 1);
}

TEST_CASE("tables: pages list every key once, in order, and a sweep comes round in steps") {
  memory_tables t;
  for (int i = 0; i < 5000; ++i) {
    auto r = make(i, "item", "v", t0, i % 2 == 0 ? t0 + 1000 : 0);
    if (i % 5 == 0) r.table = table::dialogs;
    t.merge(r, t0);
  }
  std::string cursor;
  std::vector<ring_key> seen;
  int pages = 0;
  do {
    for (const auto& r : t.page(table::bindings, cursor, 100)) seen.push_back(r.key);
    ++pages;
  } while (!cursor.empty());
  CHECK(seen.size() == 4000);
  CHECK(std::ranges::is_sorted(seen));
  CHECK(std::ranges::adjacent_find(seen) == seen.end());
  CHECK(pages >= 40);

  const auto later = t0 + 4'000'000;
  for (int i = 0; i < 60; ++i) t.sweep(later, 100);
  CHECK(t.count().records.at(table::bindings) == 2000);
  CHECK(t.count().records.at(table::dialogs) == 500);
}

TEST_CASE("hlc: versions rise, stay above what was seen, and never run more than 2 s ahead") {
  hybrid_clock c(7);
  const auto a = c.next(t0, {});
  const auto b = c.next(t0, {});
  REQUIRE((a && b));
  CHECK(*b > *a);
  CHECK(a->time() == t0);
  c.seen({static_cast<std::uint64_t>(t0 + 1500) << 16, 9}, t0);
  CHECK(c.next(t0, {})->time() == t0 + 1500);
  // An item that is an hour ahead costs writes to that item only.
  c.seen({static_cast<std::uint64_t>(t0 + 3'600'000) << 16, 9}, t0);
  CHECK(c.next(t0, {}).has_value());
  CHECK_FALSE(c.next(t0, {static_cast<std::uint64_t>(t0 + 3'600'000) << 16, 9}).has_value());
}
