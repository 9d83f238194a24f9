// What is refused, cut to size or given back (consistency.md §3, §5): floors, clocks, memory, a disk that fails.
#include "dht/store/hlc.hpp"
#include "dht/store/journal.hpp"
#include "dht/store/messages.hpp"
#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace skald;
using namespace skald::dht;
using test::cluster;
using test::fake_disk;

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
  c.nodes[list[2]]->disk.log.push_back(encode_batch(std::vector{unseen}));
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

TEST_CASE("disk: what gathers while it cannot be written is no more than what is held, and is written in steps afterwards") {
  fake_disk disk;
  journal j(&disk, &disk);
  memory_tables held;
  disk.failing = true;
  const auto take = [&](table t, int key, const std::string& item, std::uint64_t hlc) {
    record r{t, key_of_name(std::to_string(key)), item, std::string(200, 'v'), {hlc, 1}, 0, false};
    if (held.merge(r, 0)) j.add(r);
  };
  for (std::uint64_t round = 1; round <= 100; ++round) { // a thousand phones refresh, and go on doing so
    for (int key = 0; key < 1000; ++key) take(key % 10 == 0 ? table::subscribers : table::bindings, key, "phone", round);
    CHECK_FALSE(j.commit().has_value());
    j.thin(held);
  }
  CHECK(j.waiting() <= journal_rows_min + 1000);
  CHECK(disk.log.empty());
  disk.failing = false;
  REQUIRE(j.commit().has_value());
  CHECK_FALSE(j.pending());
  memory_tables read;
  for (const auto& batch : disk.log) {
    CHECK(batch.size() <= journal_step_bytes + 1024);
    auto records = decode_batch(batch);
    REQUIRE(records.has_value());
    for (auto& r : *records) read.merge(std::move(r), 0);
  }
  for (auto& [id, r] : disk.rows) read.merge(record(r), 0);
  for (int key = 0; key < 1000; ++key)
    for (const auto t : {table::subscribers, table::bindings}) CHECK(read.all(t, key_of_name(std::to_string(key))) == held.all(t, key_of_name(std::to_string(key))));
}

TEST_CASE("disk: a try that fails in the middle keeps what is not written, and writes nothing twice") {
  fake_disk disk;
  journal j(&disk, &disk);
  for (int i = 0; i < 3000; ++i) j.add({table::bindings, key_of_name("k"), std::to_string(i), std::string(200, 'v'), {1, 1}, 0, false});
  disk.appends_left = 2;
  CHECK_FALSE(j.commit().has_value());
  CHECK(disk.log.size() == 2);
  disk.appends_left.reset();
  REQUIRE(j.commit().has_value());
  std::set<std::string> items;
  std::size_t records = 0;
  for (const auto& batch : disk.log) {
    const auto read = decode_batch(batch);
    REQUIRE(read.has_value());
    for (const auto& r : *read) items.insert(r.item);
    records += read->size();
  }
  CHECK(records == 3000);
  CHECK(items.size() == 3000);
}

TEST_CASE("disk: an owner that cannot write it refuses at once, and keeps nothing of what it refused") {
  cluster c;
  c.start({""});
  const auto k = c.key_owned_by(0);
  REQUIRE(c.write(0, k, "phone", "before").outcome.has_value());
  c.nodes[0]->disk.failing = true;
  CHECK_FALSE(c.write(0, k, "phone", "lost").outcome.has_value()); // it shows
  const auto began = c.time.now();
  for (int i = 0; i < 100; ++i) CHECK(c.write(0, k, "phone" + std::to_string(i), "v").outcome.error() == write_error::not_acknowledged);
  CHECK(c.time.now() - began < seconds(5));
  CHECK(c.at(0).stats().copying <= 2);
  CHECK(c.value(0, k, "phone") == "before");
  c.nodes[0]->disk.failing = false;
  c.run(seconds(1));
  CHECK(c.write(0, k, "phone", "after").outcome.has_value());
  CHECK(c.at(0).stats().copying == 0);
}

TEST_CASE("disk: acknowledgements that wait for it are not kept for ever") {
  cluster c;
  c.start({"", ""});
  c.nodes[1]->disk.failing = true;
  const auto k = c.key_owned_by(0);
  std::uint64_t hlc = 1;
  for (int i = 0; i < 100; ++i) {
    store_write w;
    for (int n = 0; n < 1000; ++n)
      w.entries.push_back({0, {{table::bindings, k, "phone", "v", {hlc++, 1}, 0, false}}});
    CHECK(c.at(1).on_frame(c.nodes[0]->id, w.encode()));
    c.run(milliseconds(1));
  }
  std::size_t most = 0;
  c.lose = [&](const node_id&, const node_id&, const frame& f) {
    if (f.type == frame_type::store_ack) most = std::max(most, store_ack::decode(f).value().entries.size());
    return false;
  };
  c.nodes[1]->disk.failing = false;
  c.run(seconds(1));
  CHECK(most > 1000);
  CHECK(most < acks_waiting_max + 1000);
}

TEST_CASE("disk: a log that cannot be rewritten is written on, and the rewriting is tried again now and then only") {
  cluster c;
  c.start({"", ""});
  const auto k = c.key_owned_by(0);
  c.nodes[0]->disk.no_room = true;
  for (int i = 0; i < 400; ++i) REQUIRE(c.write(0, k, "phone", std::string(8000, static_cast<char>('a' + i % 26))).outcome.has_value());
  c.nodes[0]->disk.rewrites_begun = 0;
  c.run(seconds(60));
  CHECK(c.nodes[0]->disk.rewrites_begun >= 5);
  CHECK(c.nodes[0]->disk.rewrites_begun <= 7);
  CHECK(c.nodes[0]->disk_failures.empty());
  CHECK(c.at(0).stats().disk_ok);
  c.nodes[0]->disk.no_room = false;
  c.run(seconds(15));
  CHECK(c.nodes[0]->disk.rewrites == 1);
}
