#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

ring_key user(int i) { return key_of_aor("sip:u" + std::to_string(i) + "@example.com"); }

void fill(cluster& c, int n, table t = table::bindings) {
  int done = 0;
  for (int i = 0; i < n; ++i)
    c.at(0).put(t, user(i), {{"phone", "v" + std::to_string(i), t == table::bindings ? c.time.wall() + 3'600'000 : 0, false}},
                [&](write_result r) { done += r.outcome.has_value(); });
  REQUIRE(c.run_until([&] { return done == n; }));
}

} // namespace

TEST_CASE("store: a joiner holds everything before it is active, and answers only then") {
  cluster c;
  c.start({"", "", ""});
  fill(c, 3000);
  fill(c, 500, table::subscribers);
  const auto n = c.join("", false);
  CHECK_FALSE(c.at(n).settled());
  CHECK_FALSE(c.at(n).answers_for(user(1)));
  REQUIRE(c.run_until([&] { return c.nodes[n]->settled_calls > 0; }));
  const auto target = c.nodes[n]->tables.target;
  int listed = 0;
  for (int i = 0; i < 3000; ++i) {
    if (!target->at(user(i)).has(c.nodes[n]->id)) continue;
    ++listed;
    CHECK(c.value(n, user(i), "phone") == "v" + std::to_string(i));
    if (i < 500) CHECK(c.value(n, user(i), "phone", table::subscribers) == "v" + std::to_string(i));
  }
  CHECK(listed > 1500);
  CHECK(c.nodes[n]->disk.rows.size() > 250);
  // What is written while it joins comes at once.
  int i = 0;
  while (!target->at(user(i)).has(c.nodes[n]->id)) ++i;
  REQUIRE(c.put(1, user(i), "late", "v").outcome.has_value());
  c.run(milliseconds(5));
  CHECK(c.value(n, user(i), "late") == "v");
  CHECK(c.write(n, user(i), "x", "v").outcome.error() == write_error::not_active);

  c.set_state(n, member_state::active);
  c.run(seconds(1));
  for (std::size_t each = 0; each < 4; ++each) CHECK(c.at(each).settled());
  const auto k = c.key_owned_by(n);
  CHECK(c.at(n).answers_for(k));
  CHECK(c.write(n, k, "x", "v").outcome.has_value());
}

TEST_CASE("store: equal copies settle with a digest each, not with their records") {
  cluster c;
  c.start({"", "", ""});
  fill(c, 2000);
  c.run(seconds(1));
  std::size_t records = 0;
  c.lose = [&](const node_id&, const node_id&, const frame& f) {
    if (f.type == frame_type::store_copy && f.body.size() > 100) records += f.body.size();
    return false;
  };
  c.set_state(2, member_state::draining);
  c.run(seconds(1));
  CHECK(c.at(2).handed_over());
  CHECK(records == 0);
}

TEST_CASE("store: who left comes back as a newcomer: those who left after it, and whom nobody remembers, are not missed") {
  cluster c;
  c.start({"", "", "", "", ""});
  c.set_base({0, 1, 2, 3, 4});
  for (int i = 0; i < 20; ++i) CHECK(c.write(c.owner_of(user(i)), user(i), "x", "v").outcome.has_value());
  const auto leave = [&](std::size_t n, const std::vector<std::size_t>& rest) {
    c.set_state(n, member_state::draining);
    REQUIRE(c.run_until([&] { return c.at(n).handed_over(); }));
    c.at(n).forget_place();
    c.set_state(n, member_state::left); // it sees this too, and keeps nothing of it
    c.run(seconds(2));
    c.kill(n);
    c.set_base(rest);
    c.run(seconds(2));
  };
  leave(0, {1, 2, 3, 4});
  leave(1, {2, 3, 4});
  leave(2, {3, 4});
  for (const std::size_t n : {0, 1, 2}) c.nodes[n]->in_view = false; // all were off: who left is not known any more
  c.restart(3);
  c.restart(4);
  REQUIRE(c.run_until([&] { return c.at(3).settled() && c.at(4).settled(); }));
  c.nodes[0]->in_view = true;
  c.restart(0);
  REQUIRE(c.run_until([&] { return c.nodes[0]->state == member_state::active && c.at(0).settled(); }));
  c.run(seconds(2));
  for (const std::size_t n : {0, 3, 4}) CHECK(c.at(n).stats().incomplete == 0);
  for (int i = 0; i < 20; ++i) CHECK(c.at(0).read(table::bindings, user(i)).size() == 1);
}

TEST_CASE("store: the owner is killed after an ack, and the next owner has it") {
  cluster c;
  c.start({"", "", "", "", ""});
  for (int i = 0; i < 6; ++i) {
    const auto k = user(i);
    const auto owner = c.owner_of(k);
    const auto heir = c.list_of(k)[1];
    REQUIRE(c.write(owner, k, "phone", "v").outcome.has_value());
    c.kill(owner);
    c.run(milliseconds(700));
    c.remove(owner);
    CHECK(c.owner_of(k) == heir);
    // At once: either it holds it, or it asks the others first.
    const auto f = c.fetch(heir, k);
    REQUIRE(f.records.size() == 1);
    CHECK(f.records[0].value == "v");
    const auto r = c.write(heir, k, "second", "w");
    REQUIRE(r.outcome.has_value());
    CHECK(r.outcome->size() == 2);
    c.restart(owner);
    c.run(seconds(1));
    REQUIRE(c.nodes[owner]->state == member_state::active);
  }
}

TEST_CASE("store: when a node dies the third copy is made again") {
  cluster c;
  c.start({"", "", "", "", ""});
  fill(c, 500);
  c.kill(2);
  c.remove(2);
  c.run(seconds(2));
  for (std::size_t n = 0; n < 5; ++n)
    if (n != 2) CHECK(c.at(n).settled());
  for (int i = 0; i < 500; ++i)
    for (const auto n : c.list_of(user(i))) CHECK(c.value(n, user(i), "phone") == "v" + std::to_string(i));
}

TEST_CASE("store: a write under way goes to the newly listed node when a copy dies") {
  cluster c;
  c.start({"", "", "", ""});
  const auto k = user(1);
  const auto list = c.list_of(k);
  c.kill(list[1]);
  c.kill(list[2]);
  std::optional<write_result> got;
  c.at(list[0]).write(
      table::bindings, k,
      [](const auto&) -> std::expected<std::vector<change>, int> { return std::vector<change>{{"phone", "v", 0, false}}; },
      [&](write_result r) { got = std::move(r); });
  c.run(milliseconds(700));
  CHECK_FALSE(got);
  c.nodes[list[1]]->state = member_state::dead;
  c.remove(list[2]);
  c.run(milliseconds(50));
  REQUIRE(got);
  CHECK(got->outcome.has_value());
  for (const auto n : c.list_of(k)) CHECK(c.value(n, k, "phone") == "v");
}

TEST_CASE("store: two nodes, one dies: the other goes on alone once it knows") {
  cluster c;
  c.start({"", ""});
  const auto k = c.key_owned_by(0);
  REQUIRE(c.write(0, k, "phone", "v").outcome.has_value());
  c.kill(1);
  std::optional<write_result> got;
  c.at(0).write(
      table::bindings, k,
      [](const auto&) -> std::expected<std::vector<change>, int> { return std::vector<change>{{"phone", "w", 0, false}}; },
      [&](write_result r) { got = std::move(r); });
  c.run(milliseconds(700));
  CHECK_FALSE(got);
  c.remove(1);
  c.run(milliseconds(10));
  REQUIRE(got);
  CHECK(got->outcome.has_value());
}

TEST_CASE("store: a tombstone beats the record that a restarted node still has in its log") {
  cluster c;
  c.start({"", "", ""});
  const auto k = user(1);
  REQUIRE(c.put(0, k, "phone", "v").outcome.has_value());
  REQUIRE(c.put(0, k, "", "hash", table::subscribers).outcome.has_value());
  c.run(milliseconds(50));
  const auto gone = c.list_of(k)[2];
  c.kill(gone);
  c.remove(gone);
  c.run(seconds(1));
  const auto other = gone == 0 ? std::size_t{1} : std::size_t{0};
  REQUIRE(c.put(other, k, "phone", std::nullopt).outcome.has_value());
  REQUIRE(c.put(other, k, "", std::nullopt, table::subscribers).outcome.has_value());
  c.restart(gone);
  CHECK(c.value(gone, k, "phone") == "v"); // from its log, and it does not answer for it
  CHECK_FALSE(c.at(gone).answers_for(k));
  c.run(seconds(2));
  for (std::size_t n = 0; n < 3; ++n) {
    CHECK(c.at(n).settled());
    CHECK_FALSE(c.value(n, k, "phone"));
    CHECK_FALSE(c.value(n, k, "", table::subscribers));
    CHECK(c.fetch(n, k).firm);
  }
}

TEST_CASE("store: the whole cluster is off, and comes back from its disks") {
  cluster c;
  c.start({"", "", ""});
  fill(c, 300);
  fill(c, 100, table::subscribers);
  c.run(seconds(1));
  for (std::size_t n = 0; n < 3; ++n) c.kill(n);
  for (auto& n : c.nodes) n->state = member_state::dead;
  for (std::size_t n = 0; n < 3; ++n) c.restart(n);
  c.run(seconds(2));
  for (std::size_t n = 0; n < 3; ++n) {
    CHECK(c.nodes[n]->state == member_state::active);
    for (int i = 0; i < 300; ++i) CHECK(c.value(n, user(i), "phone") == "v" + std::to_string(i));
    for (int i = 0; i < 100; ++i) CHECK(c.value(n, user(i), "phone", table::subscribers) == "v" + std::to_string(i));
  }
}

TEST_CASE("store: a node that does not hold a key fetches it, and says when its answer is in doubt") {
  cluster c;
  c.start({"", "", "", "", ""});
  const auto k = user(3);
  REQUIRE(c.put(0, k, "phone", "v").outcome.has_value());
  const auto list = c.list_of(k);
  std::size_t outside = 0;
  while (std::ranges::find(list, outside) != list.end()) ++outside;
  auto f = c.fetch(outside, k);
  CHECK(f.firm);
  REQUIRE(f.records.size() == 1);
  f = c.fetch(outside, user(4));
  CHECK(f.firm);
  CHECK(f.records.empty());
  c.cut(outside, list[0]); // one silent of three: two have answered, one of which must have any acknowledged write
  f = c.fetch(outside, k);
  CHECK(f.firm);
  CHECK(f.records.size() == 1);
  c.cut(outside, list[1]);
  f = c.fetch(outside, k);
  CHECK_FALSE(f.firm);
}

TEST_CASE("store: pages of all nodes together list each record once") {
  cluster c;
  c.start({"", "", "", ""});
  fill(c, 1000);
  std::vector<std::string> seen;
  for (std::size_t n = 0; n < 4; ++n) {
    std::string cursor;
    do
      for (const auto& r : c.at(n).page(table::bindings, cursor, 64)) seen.push_back(r.value);
    while (!cursor.empty());
  }
  std::ranges::sort(seen);
  CHECK(seen.size() == 1000);
  CHECK(std::ranges::adjacent_find(seen) == seen.end());
}

TEST_CASE("store: the log is rewritten while writes go on, and loses nothing") {
  cluster c;
  c.start({""});
  for (int round = 0; round < 40; ++round) {
    int done = 0;
    for (int i = 0; i < 500; ++i)
      c.at(0).put(table::bindings, user(i), {{"phone", "round " + std::to_string(round), c.time.wall() + 3'600'000, false}},
                  [&](write_result r) { done += r.outcome.has_value(); });
    c.run(milliseconds(200));
    REQUIRE(done == 500);
  }
  CHECK(c.nodes[0]->disk.rewrites > 0);
  c.restart(0);
  c.run(seconds(1));
  for (int i = 0; i < 500; ++i) CHECK(c.value(0, user(i), "phone") == "round 39");
}

TEST_CASE("store: a leaver has handed over when all heirs have merged with it") {
  cluster c;
  c.start({"", "", "", ""});
  fill(c, 500);
  CHECK_FALSE(c.at(1).handed_over());
  c.set_state(1, member_state::draining);
  CHECK_FALSE(c.at(1).handed_over());
  const auto k = c.key_owned_by(1);
  CHECK(c.write(1, k, "phone", "while draining").outcome.has_value()); // it serves until it leaves
  REQUIRE(c.run_until([&] { return c.at(1).handed_over(); }));
  c.kill(1);
  c.set_state(1, member_state::left);
  CHECK(c.fetch(0, k).records.size() == 1);
  c.run(seconds(1));
  for (int i = 0; i < 500; ++i) CHECK(c.fetch(0, user(i)).records.size() >= 1);
}
