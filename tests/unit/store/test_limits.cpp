// What is refused, cut to size or given back (consistency.md §3, §5): floors, clocks, memory, a disk that fails.
#include "dht/store/hlc.hpp"
#include "dht/store/messages.hpp"
#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

const ring_key alice = key_of_aor("sip:alice@example.com");

write_result put(cluster& c, std::size_t n, const ring_key& k, std::vector<change> changes, table t = table::bindings) {
  std::optional<write_result> got;
  c.at(n).put(t, k, std::move(changes), [&](write_result r) { got = std::move(r); });
  REQUIRE(c.run_until([&] { return got.has_value(); }));
  return std::move(*got);
}

} // namespace

TEST_CASE("floors: remove all takes what no node at hand has seen (§10 scenario 15)") {
  cluster c;
  c.start({"", "", ""});
  c.set_base({0, 1, 2});
  const auto list = c.list_of(alice);
  REQUIRE(put(c, 0, alice, {{"desk", "v", 0, false}, {"phone", "v", 0, false}}).outcome.has_value());
  c.run(milliseconds(50));
  // Only a node that is off has this one: its log alone.
  record unseen{table::bindings, alice, "only in a log", "v", {static_cast<std::uint64_t>(c.time.wall()) << 16, 7}, c.time.wall() + 3'600'000, false};
  c.kill(list[2]);
  c.remove(list[2]);
  c.nodes[list[2]]->disk.log.push_back(encode_batch({unseen}));
  c.run(seconds(1));
  const auto r = put(c, list[0], alice, {remove_all(), {"new", "v", 0, false}});
  REQUIRE(r.outcome.has_value());
  REQUIRE(r.outcome->size() == 1);
  CHECK(r.outcome->front().item == "new");
  c.restart(list[2]);
  c.run(seconds(3));
  for (const auto n : list) {
    const auto held = c.at(n).read(table::bindings, alice);
    REQUIRE(held.size() == 1);
    CHECK(held[0].item == "new");
  }
}

TEST_CASE("floors: on a durable disk the rows beneath are deleted with it") {
  cluster c;
  c.start({""});
  for (const char* item : {"a", "b", "c"}) REQUIRE(put(c, 0, alice, {{item, "v", 0, false}}, table::subscribers).outcome.has_value());
  REQUIRE(c.nodes[0]->disk.rows.size() == 3);
  REQUIRE(put(c, 0, alice, {remove_all()}, table::subscribers).outcome.has_value());
  CHECK(c.nodes[0]->disk.rows.size() == 1);
  c.restart(0);
  c.run(seconds(1));
  CHECK(c.at(0).read(table::subscribers, alice).empty());
}

TEST_CASE("floors: one that is not acknowledged gives back what it took; one out of place is refused") {
  cluster c;
  c.start({"", "", ""});
  const auto k = c.key_owned_by(0);
  REQUIRE(put(c, 0, k, {{"desk", "v", 0, false}, {"phone", "w", 0, false}}).outcome.has_value());
  c.run(milliseconds(50));
  c.cut(0, 1);
  c.cut(0, 2);
  CHECK_FALSE(put(c, 0, k, {remove_all()}).outcome.has_value());
  CHECK(c.value(0, k, "desk") == "v");
  CHECK(c.value(0, k, "phone") == "w");
  c.heal(0, 1);
  c.heal(0, 2);
  c.run(seconds(2));
  for (std::size_t n = 0; n < 3; ++n) CHECK(c.at(n).read(table::bindings, k).size() == 2);
  CHECK(put(c, 0, k, {{"x", "v", 0, false}, remove_all()}).outcome.error() == write_error::refused);
  CHECK(put(c, 0, k, {{std::string(floor_item), "v", 0, false}}).outcome.error() == write_error::refused);
}

TEST_CASE("grants: nothing volatile lives longer than what is kept to forbid it") {
  cluster c;
  c.start({""});
  const auto now = c.time.wall();
  REQUIRE(put(c, 0, alice, {{"for ever", "v", 0, false}, {"a week", "v", now + 7 * 86'400'000, false}}).outcome.has_value());
  for (const auto& r : c.at(0).read(table::bindings, alice)) {
    CHECK(r.expires <= c.time.wall() + longest_grant(table::bindings).count());
    CHECK(r.expires > now);
  }
  REQUIRE(put(c, 0, alice, {{"", "hash", 0, false}}, table::subscribers).outcome.has_value());
  CHECK(c.at(0).read(table::subscribers, alice).at(0).expires == 0);
}

TEST_CASE("memory: above nine tenths of the budget nothing new is taken, refreshes and removals go on") {
  cluster c;
  c.memory_budget = 400'000;
  c.start({"", "", ""});
  int refused = 0, taken = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto r = put(c, 0, key_of_aor("sip:" + std::to_string(i)), {{"phone", std::string(100, 'v'), 0, false}});
    if (r.outcome) ++taken;
    else if (r.outcome.error() == write_error::overloaded) ++refused;
  }
  CHECK(taken > 500);
  CHECK(refused > 500);
  CHECK(c.at(0).stats().memory <= 370'000);
  CHECK(put(c, 0, key_of_aor("sip:1"), {{"phone", std::string(100, 'w'), 0, false}}).outcome.has_value());
  for (int i = 0; i < 100; ++i) CHECK(put(c, 0, key_of_aor("sip:" + std::to_string(i)), {{"phone", {}, 0, true}}).outcome.has_value());
}

TEST_CASE("clock: a direct write over 2 s ahead is refused, a merge takes it (§5)") {
  cluster c;
  c.start({"", ""});
  const auto k = c.key_owned_by(0);
  for (const auto ahead_ms : {1900, 2100}) {
    const std::string item = std::to_string(ahead_ms);
    record r{table::bindings, k, item, "v", {static_cast<std::uint64_t>(c.time.wall() + ahead_ms) << 16, 7}, c.time.wall() + 600'000, false};
    c.at(1).on_frame(c.nodes[0]->id, store_write{{}, {{1, {r}}}}.encode());
    CHECK(c.value(1, k, item).has_value() == (ahead_ms < version_ahead_max.count()));
  }
}

TEST_CASE("acks: one that does not see the sender as the owner is sent the write once more, not for ever") {
  cluster c;
  c.start({"", "", ""});
  const auto k = c.key_owned_by(0);
  const auto list = c.list_of(k);
  int writes = 0;
  c.lose = [&](const node_id& from, const node_id& to, const frame& f) {
    if (f.type != frame_type::store_write || from != c.nodes[0]->id) return false;
    if (to == c.nodes[list[1]]->id) {
      ++writes;
      const auto w = store_write::decode(f);
      store_ack a;
      for (const auto& e : w->entries) a.entries.emplace_back(e.number, store_ack::status::not_owner);
      c.timers.at(c.time.now() + milliseconds(1), [&c, to, a] { c.at(0).on_frame(to, a.encode()); });
    }
    return true; // and the third is silent
  };
  CHECK(c.write(0, k, "phone", "v").outcome.error() == write_error::not_acknowledged);
  c.lose = {};
  CHECK(writes <= 4); // the write twice; what it was before, written back, twice
  c.run(seconds(3));
  CHECK(c.at(0).stats().behind == 0);
  for (std::size_t n = 0; n < 3; ++n) CHECK_FALSE(c.value(n, k, "phone"));
}

TEST_CASE("disk: a failure is told once, and what was not written is not acknowledged") {
  cluster c;
  c.start({"", ""});
  c.nodes[1]->disk.failing = true;
  const auto k = c.key_owned_by(0);
  CHECK_FALSE(c.write(0, k, "phone", "v").outcome.has_value());
  CHECK_FALSE(c.write(0, k, "phone", "v").outcome.has_value());
  CHECK(c.nodes[1]->disk_failures.size() == 1);
  c.nodes[1]->disk.failing = false;
  c.run(seconds(2));
  CHECK(c.at(1).stats().disk_ok);
  CHECK(c.write(0, k, "phone", "v").outcome.has_value());
  c.nodes[1]->disk.failing = true;
  CHECK_FALSE(c.write(0, k, "phone", "w").outcome.has_value());
  CHECK(c.nodes[1]->disk_failures.size() == 2);
}
