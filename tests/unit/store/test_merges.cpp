// Merging: what moves, what is compared, what is dropped (consistency.md §3, §4).
#include "dht/store/merge_messages.hpp"
#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

ring_key user(int i) { return key_of_aor("sip:m" + std::to_string(i) + "@example.com"); }

void fill(cluster& c, int n, std::size_t bytes = 100) {
  int done = 0;
  for (int i = 0; i < n; ++i)
    c.at(0).put(table::subscribers, user(i), {{"", std::string(bytes, 'v'), 0, false}}, [&](write_result r) { done += r.outcome.has_value(); });
  REQUIRE(c.run_until([&] { return done == n; }));
  c.run(milliseconds(200));
}

void grow(cluster& c, std::size_t n) {
  c.start(std::vector<std::string>(n));
  std::vector<std::size_t> all(n);
  for (std::size_t i = 0; i < n; ++i) all[i] = i;
  c.set_base(all);
  c.run(seconds(1));
}

bool settled(cluster& c) {
  return c.run_until([&] {
    return std::ranges::all_of(c.nodes, [](const auto& n) { return !n->store || n->store->settled(); });
  }, seconds(20));
}

std::uint64_t held(cluster& c, std::size_t n) { return c.at(n).stats().bytes; }

} // namespace

TEST_CASE("merges: what moves when one joins, and when one dies, is at most 1.3 times what has to move") {
  cluster c;
  grow(c, 5);
  fill(c, 8000, 4000); // besides: about 3 MB of bitmaps and digests among six nodes, whatever is held
  c.bytes = 0;
  const auto j = c.join("", false);
  REQUIRE(c.run_until([&] { return c.nodes[j]->settled_calls > 0; }, seconds(30)));
  auto moved = held(c, j);
  REQUIRE(moved > 1'000'000);
  MESSAGE("join: " << c.bytes << " bytes for " << moved);
  CHECK(c.bytes <= moved * 13 / 10);
  c.bytes = 0;
  c.set_state(j, member_state::active); // merged once more: digests
  REQUIRE(settled(c));
  MESSAGE("turning active: " << c.bytes << " bytes");
  CHECK(c.bytes <= moved * 3 / 10);

  std::vector<std::uint64_t> before;
  for (std::size_t n = 0; n < 5; ++n) before.push_back(held(c, n));
  c.kill(j);
  c.bytes = 0;
  c.remove(j);
  REQUIRE(settled(c));
  std::uint64_t had = 0, gained = 0;
  for (std::size_t n = 0; n < 5; ++n) {
    had += before[n];
    gained += held(c, n);
  }
  gained -= had;
  MESSAGE("death: " << c.bytes << " bytes for " << gained << " gained by the others, who still had most of it");
  CHECK(c.bytes <= gained + moved * 3 / 10);
}

TEST_CASE("merges: in the background one message of 16 bytes of digest a pair and minute, where all is equal") {
  cluster c;
  grow(c, 3);
  fill(c, 500);
  int compares = 0, others = 0;
  std::size_t bytes = 0;
  c.lose = [&](const node_id&, const node_id&, const frame& f) {
    if (f.type == frame_type::store_compare) {
      ++compares;
      bytes += f.body.size();
      CHECK(store_compare::decode(f)->digests.size() == 2);
    } else if (f.type != frame_type::store_compared && f.type != frame_type::store_copy_done) {
      ++others;
    }
    return false;
  };
  c.run(seconds(180));
  CHECK(compares >= 6); // three pairs, two or three minutes
  CHECK(compares <= 9);
  CHECK(others == 0);
  CHECK(bytes <= static_cast<std::size_t>(compares) * 80);
}

TEST_CASE("merges: what differs without anyone's knowing is found within a minute, by both, and costs little") {
  cluster c;
  grow(c, 3);
  fill(c, 3000);
  // As disks that lost a tail: each has what no other has.
  for (std::size_t n = 0; n < 3; ++n) {
    record r{table::subscribers, user(n == 0 ? 5 : static_cast<int>(n)), "only here", "v",
             {static_cast<std::uint64_t>(c.time.wall()) << 16, n}, 0, false};
    store_copy page; // taken from no one: planted by the log
    c.nodes[n]->disk.rows.insert_or_assign(std::tuple(r.table, r.key, r.item), r);
  }
  c.nodes[0]->activate_when_settled = true;
  c.restart(0);
  REQUIRE(settled(c));
  c.bytes = 0;
  c.run(seconds(130));
  CHECK(c.value(1, user(5), "only here", table::subscribers) == "v");
  CHECK(c.value(2, user(5), "only here", table::subscribers) == "v");
  CHECK(c.bytes < 60'000);
}

TEST_CASE("merges: a joiner whose clock is ahead takes all that lives, and has it when its clock is right") {
  for (const duration ahead : {duration(std::chrono::hours(2)), duration(std::chrono::hours(48))}) {
    cluster c;
    grow(c, 3);
    for (int i = 0; i < 40; ++i) {
      const auto owner = c.owner_of(user(i));
      int done = 0;
      c.at(owner).put(table::bindings, user(i), {{"phone", "v", c.time.wall() + 3'600'000, false}}, [&](write_result r) { done += r.outcome.has_value(); });
      REQUIRE(c.run_until([&] { return done == 1; }));
    }
    const auto j = c.join("", false);
    c.nodes[j]->clock_off = ahead;
    REQUIRE(c.run_until([&] { return c.nodes[j]->settled_calls > 0; }, seconds(30)));
    c.nodes[j]->clock_off = {};
    c.set_state(j, member_state::active);
    REQUIRE(settled(c));
    int listed = 0;
    for (int i = 0; i < 40; ++i) {
      const auto list = c.list_of(user(i));
      if (std::ranges::find(list, j) == list.end()) continue;
      ++listed;
      CHECK(c.value(j, user(i), "phone") == "v");
    }
    CHECK(listed > 0);
  }
}

TEST_CASE("merges: a large partition is compared by sub-ranges, not sent whole") {
  cluster c;
  grow(c, 2);
  const auto k = c.key_owned_by(0);
  std::vector<ring_key> keys; // of one partition, in all its sub-ranges
  for (int i = 0; i < 2000; ++i) {
    auto each = k;
    each.bytes[2] = static_cast<std::uint8_t>(i);
    each.bytes[3] = static_cast<std::uint8_t>(i >> 8);
    keys.push_back(each);
  }
  int done = 0;
  for (const auto& each : keys)
    c.at(0).put(table::subscribers, each, {{"", std::string(200, 'v'), 0, false}}, [&](write_result r) { done += r.outcome.has_value(); });
  REQUIRE(c.run_until([&] { return done == 2000; }));
  c.run(seconds(1));
  c.refusing.insert({c.nodes[0]->id, c.nodes[1]->id});
  c.set_base({0});
  c.nodes[1]->sees = std::map<std::size_t, member_state>{};
  CHECK_FALSE(c.write(0, keys[77], "late", "v", table::subscribers).outcome.has_value()); // two are listed and alive
  c.refusing.clear();
  c.bytes = 0;
  CHECK(c.run_until([&] { return c.at(0).stats().behind == 0; }));
  CHECK(c.bytes < 20'000); // of 500 000
  c.run(milliseconds(100));
  CHECK(c.value(0, keys[77], "late", table::subscribers) == c.value(1, keys[77], "late", table::subscribers));
}

TEST_CASE("merges: views are compared first; who does not know that a node died answers no merge") {
  cluster c;
  grow(c, 4);
  fill(c, 200);
  c.nodes[1]->view_frozen = true; // it believes that node 3 lives
  c.kill(3);
  c.remove(3);
  c.run(seconds(3));
  CHECK_FALSE(c.at(0).settled());
  c.nodes[1]->view_frozen = false;
  c.publish();
  CHECK(settled(c));
}

TEST_CASE("merges: with a peer that cannot compare, all that it has is taken") {
  cluster c;
  grow(c, 3);
  fill(c, 300);
  for (std::size_t n = 0; n < 3; ++n) c.nodes[n]->wire_highest = 1;
  int compares = 0;
  c.lose = [&](const node_id&, const node_id& to, const frame& f) {
    const bool unknown = f.type == frame_type::store_compare && to != c.nodes.back()->id;
    compares += unknown ? 1 : 0;
    return unknown;
  };
  const auto j = c.join("", false);
  REQUIRE(c.run_until([&] { return c.nodes[j]->settled_calls > 0; }));
  CHECK(compares == 0);
  const auto target = c.nodes[j]->tables.target;
  for (int i = 0; i < 300; ++i)
    if (target->at(user(i)).has(c.nodes[j]->id)) CHECK(c.value(j, user(i), "", table::subscribers).has_value());
}

TEST_CASE("merges: a leaver takes the merge of an heir of an earlier version for its word") {
  cluster c;
  grow(c, 3);
  fill(c, 100);
  for (const std::size_t n : {1, 2}) c.nodes[n]->wire_highest = 1;
  c.lose = [&](const node_id& from, const node_id&, const frame& f) { // they know nothing of it
    return f.type == frame_type::store_state && from != c.nodes[0]->id;
  };
  c.set_state(0, member_state::draining);
  CHECK(c.run_until([&] { return c.at(0).handed_over(); }));
}

TEST_CASE("merges: a copy of an earlier version is not behind any more when it has merged, and a leaver can go") {
  cluster c;
  grow(c, 3);
  fill(c, 100);
  for (const std::size_t n : {1, 2}) c.nodes[n]->wire_highest = 1;
  c.lose = [&](const node_id& from, const node_id& to, const frame& f) { // they know nothing of these
    return (f.type == frame_type::store_state && from != c.nodes[0]->id) ||
           (f.type == frame_type::store_merge_please && to != c.nodes[0]->id);
  };
  c.refusing.insert({c.nodes[0]->id, c.nodes[1]->id});
  const auto k = c.key_owned_by(0);
  REQUIRE(c.write(0, k, "late", "v").outcome.has_value());
  c.run(seconds(3));
  c.refusing.clear();
  REQUIRE(c.at(0).stats().behind == 1);
  for (std::size_t n = 0; n < 3; ++n) c.nodes[n]->wire_highest = 1; // so they ask node 0 in the way of that version
  c.set_state(0, member_state::draining);
  CHECK(c.run_until([&] { return c.at(0).handed_over(); }));
  CHECK(c.at(0).stats().behind == 0);
  CHECK(c.value(1, k, "late") == "v");
}

TEST_CASE("merges: what a node is not listed for any more is dropped a minute after all who are have it, on disk too") {
  cluster c;
  grow(c, 4);
  fill(c, 1000);
  const auto j = c.join();
  REQUIRE(settled(c));
  std::size_t unlisted = 0;
  for (std::size_t n = 0; n < 4; ++n) unlisted += c.at(n).stats().unlisted;
  REQUIRE(unlisted > 0);
  c.run(seconds(50));
  std::size_t still = 0;
  for (std::size_t n = 0; n < 4; ++n) still += c.at(n).stats().unlisted;
  CHECK(still == unlisted); // not before
  c.run(seconds(60));
  std::size_t rows = 0;
  for (std::size_t n = 0; n < 5; ++n) {
    CHECK(c.at(n).stats().unlisted == 0);
    rows += c.nodes[n]->disk.rows.size();
  }
  CHECK(rows == 3000);
  for (int i = 0; i < 1000; ++i) CHECK(c.fetch(j, user(i), table::subscribers).records.size() == 1);
}

TEST_CASE("merges: nothing is dropped while one who is listed has not confirmed") {
  cluster c;
  grow(c, 4);
  fill(c, 300);
  c.lose = [&](const node_id& from, const node_id&, const frame& f) { // of one node nobody hears that it is settled
    return f.type == frame_type::store_state && from == c.nodes[1]->id && !store_state::decode(f)->question;
  };
  c.join();
  REQUIRE(settled(c));
  c.run(seconds(150));
  CHECK(c.at(0).stats().unlisted > 0);
}
