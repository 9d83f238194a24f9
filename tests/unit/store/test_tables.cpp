#include "base/rng.hpp"
#include "dht/ring/ring.hpp"
#include "dht/store/hlc.hpp"
#include "dht/store/messages.hpp"
#include "dht/store/tables.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;

namespace {

constexpr unix_ms t0 = 1'700'000'000'000;
const unix_ms cut0 = digest_cut(t0);

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
      CHECK(a.digest(partition_of(key), cut0) == b.digest(partition_of(key), cut0));
    }
  }
}

TEST_CASE("tables: what expired is not read, shrinks to a stub, and is reclaimed when nothing older can be valid (§10 scenario 1)") {
  memory_tables t;
  const auto key = key_of_aor("sip:1");
  const auto hours = longest_grant(table::bindings).count();
  REQUIRE(t.merge(make(1, "phone", "v", t0, t0 + 60'000), t0));
  CHECK(t.live(table::bindings, key, t0 + 59'999).size() == 1);
  CHECK(t.live(table::bindings, key, t0 + 60'000).empty());
  t.sweep(t0 + 61'000, 100);
  REQUIRE(t.all(table::bindings, key).size() == 1);
  CHECK(t.all(table::bindings, key)[0].value.empty());
  // A refresh for an hour that was made before, from the log of a node that restarts: it must not come back.
  CHECK_FALSE(t.merge(make(1, "phone", "older", t0 - 1000, t0 + 3'599'000), t0 + 61'000));
  CHECK(t.live(table::bindings, key, t0 + 61'000).empty());
  t.sweep(t0 + hours + 59'000, 100);
  CHECK(t.all(table::bindings, key).size() == 1);
  t.sweep(t0 + hours + 61'000, 100);
  CHECK(t.all(table::bindings, key).empty());
  CHECK(t.digest(partition_of(key), cut0) == 0);
  CHECK(t.count().memory == 0);
  CHECK(t.count().bytes == 0);
  CHECK(t.count().volatile_bytes == 0);
}

TEST_CASE("tables: a stub is the same record to a merge, on either side, and over the wire") {
  memory_tables a, b;
  const auto full = make(1, "phone", "v", t0, t0 + 1000);
  a.merge(full, t0);
  a.sweep(t0 + 2000, 10);
  const auto stub = a.all(table::bindings, full.key).at(0);
  CHECK(stub.value.empty());
  CHECK(stub.value_hash != 0);
  CHECK_FALSE(supersedes(full, stub));
  CHECK_FALSE(supersedes(stub, full));
  b.merge(full, t0);
  CHECK(a.digest(partition_of(full.key), cut0) == b.digest(partition_of(full.key), cut0));
  CHECK(as_held(stub) == as_held(full));
  const auto sent = decode_batch(encode_batch(std::vector{stub}));
  REQUIRE(sent.has_value());
  memory_tables c;
  c.merge(sent->at(0), t0 + 2000);
  CHECK(c.digest(partition_of(full.key), cut0) == a.digest(partition_of(full.key), cut0));
}

TEST_CASE("tables: a stub that a clock gone wrong made is never live, and gets its value back from who has it") {
  memory_tables a;
  const auto full = make(1, "phone", "v", t0, t0 + 1000);
  a.merge(full, t0 + 5000); // this node believes that it has expired
  CHECK(a.live(table::bindings, full.key, t0).empty()); // and then learns the time
  CHECK(a.merge(full, t0));
  CHECK(a.live(table::bindings, full.key, t0) == std::vector<record>{full});
  CHECK_FALSE(a.merge(full, t0));
}

TEST_CASE("tables: equal versions with other bytes converge, as records and as stubs (§10 scenario 19)") {
  memory_tables a, b;
  const auto x = make(1, "phone", "one", t0, t0 + 1000), y = make(1, "phone", "two", t0, t0 + 1000);
  CHECK(supersedes(x, y) != supersedes(y, x));
  a.merge(x, t0);
  b.merge(y, t0);
  const auto p = partition_of(x.key);
  CHECK(a.digest(p, cut0) != b.digest(p, cut0)); // so a comparison finds it
  for (auto* t : {&a, &b}) {
    t->merge(x, t0);
    t->merge(y, t0);
  }
  CHECK(a.digest(p, cut0) == b.digest(p, cut0));
  CHECK(a.all(table::bindings, x.key) == b.all(table::bindings, x.key));
  // The one has expired here and is a stub; the other comes late: the same one wins.
  memory_tables c;
  c.merge(x, t0);
  c.sweep(t0 + 2000, 10);
  c.merge(y, t0 + 2000);
  CHECK(c.digest(p, cut0) == a.digest(p, cut0));
}

TEST_CASE("tables: a digest counts what is kept at the named time, whoever has swept already") {
  memory_tables a, b;
  const auto grant = longest_grant(table::nonces).count();
  auto gone = make(1, "nonce", "", t0, 0, true);
  auto stays = make(1, "other", "v", t0 + grant - 10'000, t0 + grant + 30'000);
  gone.table = stays.table = table::nonces;
  const auto now = t0 + grant + stub_margin.count() + 1;
  for (auto* t : {&a, &b})
    for (const auto& r : {gone, stays}) t->merge(r, t0 + grant - 1000);
  a.sweep(now, 100);
  REQUIRE(a.all(table::nonces, gone.key).size() == 1);
  REQUIRE(b.all(table::nonces, gone.key).size() == 2);
  const auto p = partition_of(gone.key);
  CHECK(a.digest(p, digest_cut(now)) == b.digest(p, digest_cut(now)));
  CHECK(a.sub_digests(p, digest_cut(now)) == b.sub_digests(p, digest_cut(now)));
}

TEST_CASE("tables: what is live in its last seconds counts in every digest (§10 scenario 16)") {
  for (const unix_ms left : {1, 1000, 20'000}) { // ms to live
    memory_tables t;
    const auto r = make(1, "phone", "v", t0, t0 + longest_grant(table::bindings).count());
    t.merge(r, t0);
    CHECK(t.digest(partition_of(r.key), digest_cut(r.expires - left)) != 0);
  }
}

TEST_CASE("tables: a floor kills what is older, seen before or not, and stays above it (§10 scenario 15)") {
  memory_tables t;
  const auto key = key_of_aor("sip:1");
  const auto names = [&] {
    std::vector<std::string> out;
    for (const auto& r : t.live(table::bindings, key, t0 + 10)) out.push_back(r.item);
    return out;
  };
  t.merge(make(1, "a", "v", t0, t0 + 60'000), t0);
  t.merge(make(1, "b", "v", t0 + 5, t0 + 60'000), t0);
  t.merge(make(1, "gone", "", t0 + 1, 0, true), t0);
  auto floor = make(1, std::string(floor_item), "", t0 + 3, 0, true);
  REQUIRE(t.merge(floor, t0));
  CHECK(names() == std::vector<std::string>{"b"});
  CHECK(t.all(table::bindings, key).size() == 2); // the floor and b: what is beneath is deleted
  CHECK_FALSE(t.merge(make(1, "c", "v", t0 + 2, t0 + 3'600'000), t0)); // never seen here
  CHECK(t.merge(make(1, "c", "v", t0 + 4, t0 + 60'000), t0));
  // It is kept until nothing beneath it could still be valid, wherever that lies.
  const auto longest = t0 + 2 + longest_grant(table::bindings).count();
  t.sweep(longest, 100);
  CHECK_FALSE(t.merge(make(1, "d", "v", t0 + 2, longest + 1), longest));
  t.sweep(t0 + 10 + longest_grant(table::bindings).count() + stub_margin.count(), 100);
  CHECK(t.all(table::bindings, key).empty());
  CHECK(t.digest(partition_of(key), cut0) == 0);
  CHECK(t.count().bytes == 0);
  CHECK_FALSE(t.merge(make(1, std::string(floor_item), "no tombstone", t0 + 9), t0));
}

TEST_CASE("tables: a durable floor is kept for good") {
  memory_tables t;
  auto r = make(1, std::string(floor_item), "", t0, 0, true);
  r.table = table::subscribers;
  REQUIRE(t.merge(r, t0));
  t.sweep(t0 + 1'000'000'000'000, 100);
  auto old = make(1, "", "hash", t0 - 1);
  old.table = table::subscribers;
  CHECK_FALSE(t.merge(old, t0 + 1'000'000'000'000));
}

TEST_CASE("tables: a partition is erased whole, and nothing else with it") {
  memory_tables t;
  for (int i = 0; i < 200; ++i) t.merge(make(i, "item", "v", t0), t0);
  const auto p = partition_of(key_of_aor("sip:7"));
  REQUIRE(!t.of(p).empty());
  const auto of_it = t.of(p).size();
  t.erase(p);
  CHECK(t.of(p).empty());
  CHECK(t.digest(p, cut0) == 0);
  CHECK_FALSE(t.partitions().test(p));
  CHECK(t.count().records.at(table::bindings) == 200 - of_it);
}

TEST_CASE("tables: a durable tombstone is kept for good") {
  memory_tables t;
  auto r = make(1, "", "", t0, 0, true);
  r.table = table::subscribers;
  REQUIRE(t.merge(r, t0));
  t.sweep(t0 + 1'000'000'000'000, 100);
  CHECK(t.all(table::subscribers, r.key).size() == 1);
}

TEST_CASE("partition set: comes back from its bytes, and is short where runs are few") {
  seeded_rng random(5);
  partition_set none, all, some, runs;
  all.set_all();
  for (int i = 0; i < 30'000; ++i) some.set(partition{static_cast<std::uint16_t>(random.below(partition_count))});
  for (std::uint32_t i = 1000; i < 5000; ++i) runs.set(partition{static_cast<std::uint16_t>(i)});
  for (const auto* s : {&none, &all, &some, &runs}) CHECK(partition_set::decode(s->encode()) == *s);
  CHECK(none.encode().size() == 1);
  CHECK(all.encode().size() == 5);
  CHECK(runs.encode().size() == 5);
  CHECK(some.encode().size() == 1 + partition_count / 8);
  for (const auto bad : {std::string_view("", 0), std::string_view("\2", 1), std::string_view("\0\0\5\0\1", 5),
                         std::string_view("\0\0\0\0", 4), std::string_view("\1\0", 2)})
    CHECK_FALSE(partition_set::decode(bad).has_value());
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

  const auto later = t0 + longest_grant(table::bindings).count() + 400'000;
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
