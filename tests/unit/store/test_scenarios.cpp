// The scenarios of consistency.md §10 that are the store's, by their numbers. 15, 16 and 19 are in test_tables.cpp, 5 and
// 14 in test_sources.cpp; 9 and 20 are the membership's.
#include "tests/unit/store/cluster.hpp"

#include "dht/store/messages.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

const ring_key alice = key_of_aor("sip:alice@example.com");

void grow(cluster& c, std::size_t n) {
  c.start(std::vector<std::string>(n));
  std::vector<std::size_t> all(n);
  for (std::size_t i = 0; i < n; ++i) all[i] = i;
  c.set_base(all);
  c.run(seconds(1));
}

bool put_until(cluster& c, std::size_t n, const std::string& item, const std::string& v, unix_ms expires, table t) {
  std::optional<write_result> got;
  c.at(n).put(t, alice, {{item, v, expires, false}}, [&](write_result r) { got = std::move(r); });
  c.run_until([&] { return got.has_value(); });
  return got && got->outcome.has_value();
}

bool rested(cluster& c) {
  return c.run_until([&] {
    return std::ranges::all_of(c.nodes, [](const auto& n) {
      return !n->store || (n->state == member_state::active && n->store->settled() && n->store->stats().behind == 0);
    });
  });
}

// Nowhere, and every node is sure.
void gone_everywhere(cluster& c, const std::string& item, table t) {
  for (std::size_t n = 0; n < c.nodes.size(); ++n) {
    if (!c.nodes[n]->store) continue;
    CHECK_FALSE(c.value(n, alice, item, t));
    const auto f = c.fetch(n, alice, t);
    CHECK(f.firm);
    CHECK(std::ranges::find(f.records, item, &record::item) == f.records.end());
  }
}

} // namespace

TEST_CASE("scenario 1: an hour's refresh in an old log does not come back after a minute's has expired") {
  for (const bool reclaimed : {false, true}) {
    cluster c;
    grow(c, 3);
    REQUIRE(put_until(c, 0, "nonce", "for an hour", c.time.wall() + 3'600'000, table::nonces));
    c.run(milliseconds(50));
    const auto off = c.list_of(alice)[2];
    c.kill(off);
    c.remove(off);
    c.run(seconds(1));
    REQUIRE(put_until(c, off == 0 ? 1 : 0, "nonce", "for a minute", c.time.wall() + 60'000, table::nonces));
    c.run(reclaimed ? seconds(3780) : seconds(120));
    c.restart(off);
    CHECK(rested(c));
    gone_everywhere(c, "nonce", table::nonces);
  }
}

TEST_CASE("scenario 2: a removal holds against the longer refresh of the other side of a cut, and of an old log") {
  cluster c;
  grow(c, 4);
  const auto list = c.list_of(alice);
  const auto a = list[0], b = list[1];
  std::vector<std::size_t> left{a}, right{b};
  for (std::size_t n = 0; n < 4; ++n)
    if (n != a && n != b) (left.size() < 2 ? left : right).push_back(n);
  const auto part = [&](bool cut) {
    for (const auto x : left)
      for (const auto y : right) {
        if (cut) c.cut(x, y);
        else c.heal(x, y);
        if (!cut) {
          c.nodes[x]->sees.reset();
          c.nodes[y]->sees.reset();
          continue;
        }
        for (const auto& [who, whom] : {std::pair(x, y), std::pair(y, x)}) {
          if (!c.nodes[who]->sees) c.nodes[who]->sees.emplace();
          (*c.nodes[who]->sees)[whom] = member_state::dead;
        }
      }
    c.publish();
    c.run(seconds(2));
  };
  REQUIRE(put_until(c, a, "phone", "v", c.time.wall() + 600'000, table::bindings));
  part(true);
  REQUIRE(put_until(c, a, "phone", "longer", c.time.wall() + 3'600'000, table::bindings));
  c.run(seconds(1));
  REQUIRE(c.put(b, alice, "phone", std::nullopt).outcome.has_value()); // the later one
  const auto old_log = c.nodes[left[1]]->disk.log; // it knows the longer refresh, and no removal
  part(false);
  CHECK(rested(c));
  gone_everywhere(c, "phone", table::bindings);
  c.run(seconds(150)); // the removal is kept for as long as what it forbids may live
  c.nodes[left[1]]->disk.log = old_log;
  c.restart(left[1]);
  CHECK(rested(c));
  gone_everywhere(c, "phone", table::bindings);
}

TEST_CASE("scenario 3: a durable removal outlives everything being off for long, whoever starts first") {
  for (const bool holder_first : {true, false}) {
    cluster c;
    grow(c, 3);
    REQUIRE(c.put(0, alice, "", "hash", table::subscribers).outcome.has_value());
    c.run(milliseconds(50));
    const auto late = c.list_of(alice)[2];
    c.kill(late);
    c.remove(late);
    c.run(seconds(1));
    const auto holder = late == 0 ? std::size_t{1} : std::size_t{0};
    REQUIRE(c.put(holder, alice, "", std::nullopt, table::subscribers).outcome.has_value());
    c.run(seconds(1));
    for (std::size_t n = 0; n < 3; ++n)
      if (c.nodes[n]->store) c.kill(n);
    for (auto& n : c.nodes) n->state = member_state::dead;
    c.time.advance(std::chrono::hours(24 * 400));
    for (const auto n : holder_first ? std::vector{holder, late} : std::vector{late, holder}) {
      c.restart(n);
      c.run(seconds(3));
    }
    for (const auto n : {holder, late}) {
      CHECK_FALSE(c.value(n, alice, "", table::subscribers));
      CHECK(c.fetch(n, alice, table::subscribers).records.empty());
    }
  }
}

TEST_CASE("scenario 4: after everything was off for long nobody has emptied itself") {
  cluster c;
  grow(c, 3);
  REQUIRE(c.put(0, alice, "", "hash", table::subscribers).outcome.has_value());
  c.run(seconds(1));
  for (std::size_t n = 0; n < 3; ++n) c.kill(n);
  for (auto& n : c.nodes) n->state = member_state::dead;
  c.time.advance(std::chrono::hours(24 * 400));
  for (std::size_t n = 0; n < 3; ++n) c.restart(n);
  CHECK(rested(c));
  for (std::size_t n = 0; n < 3; ++n) CHECK(c.value(n, alice, "", table::subscribers) == "hash");
}

TEST_CASE("scenario 6: one dies and is repaired, later another: everything is complete again, and nobody is missed") {
  cluster c;
  grow(c, 6);
  REQUIRE(c.put(0, alice, "phone", "v").outcome.has_value());
  for (const std::size_t n : {4, 5}) {
    c.kill(n);
    c.remove(n);
    CHECK(rested(c));
    for (std::size_t each = 0; each < 4; ++each) {
      CHECK(c.at(each).stats().incomplete == 0);
      CHECK(c.at(each).stats().missing.empty());
      const auto f = c.fetch(each, alice);
      CHECK(f.firm);
      CHECK(f.records.size() == 1);
    }
  }
}

TEST_CASE("two that died at once leave partitions incomplete: no firm absence until one returns, or the operator gives up") {
  for (const bool returns : {true, false}) {
    cluster c;
    grow(c, 5);
    c.kill(3);
    c.kill(4);
    c.nodes[3]->state = member_state::dead;
    c.remove(4);
    CHECK(rested(c));
    std::size_t incomplete = 0;
    for (std::size_t n = 0; n < 3; ++n) incomplete += c.at(n).stats().incomplete;
    CHECK(incomplete > 0);
    std::optional<ring_key> k; // where both were listed
    for (int i = 0; i < 500 && !k; ++i) {
      const auto candidate = key_of_aor("sip:lost" + std::to_string(i) + "@example.com");
      if (!c.at(c.owner_of(candidate)).answers_for(candidate)) k = candidate;
    }
    REQUIRE(k);
    for (std::size_t n = 0; n < 3; ++n) CHECK_FALSE(c.fetch(n, *k).firm);
    REQUIRE(c.put(0, *k, "phone", "v").outcome.has_value()); // writes go on
    CHECK(c.fetch(0, *k).records.size() == 1);
    if (returns) {
      c.restart(4);
      CHECK(rested(c));
    } else {
      for (std::size_t n = 0; n < 3; ++n) {
        const auto given_up = c.at(n).accept_loss();
        CHECK(given_up.size() == 2);
      }
    }
    for (std::size_t n = 0; n < 3; ++n) {
      CHECK(c.at(n).stats().incomplete == 0);
      CHECK(c.fetch(n, *k).firm);
    }
  }
}

TEST_CASE("scenario 7: a copy that was skipped is asked before the owner is declared dead: it finds, or it is not sure") {
  cluster c;
  grow(c, 5);
  const auto list = c.list_of(alice);
  c.refusing.insert({c.nodes[list[0]]->id, c.nodes[list[2]]->id}); // the link to it is too slow
  REQUIRE(c.put(list[0], alice, "phone", "v").outcome.has_value());
  REQUIRE_FALSE(c.value(list[2], alice, "phone"));
  c.kill(list[0]);
  CHECK_FALSE(c.at(list[2]).answers_for(alice));
  const auto f = c.fetch(list[2], alice);
  CHECK(f.records.size() == 1); // from the other copy
  c.kill(list[1]); // and now nobody else has it
  const auto doubtful = c.fetch(list[2], alice);
  CHECK((!doubtful.firm || doubtful.records.size() == 1));
}

TEST_CASE("a reader that is not listed counts those too that the listed ones have yet to merge with") {
  cluster c;
  grow(c, 6);
  const auto list = c.list_of(alice);
  c.refusing.insert({c.nodes[list[0]]->id, c.nodes[list[2]]->id}); // the third is skipped: two hold it
  REQUIRE(c.put(list[0], alice, "phone", "v").outcome.has_value());
  c.lose = [](const node_id&, const node_id&, const frame& f) { return f.type == frame_type::store_compare; };
  c.kill(list[0]);
  c.remove(list[0]);
  const auto now = c.list_of(alice);
  std::size_t reader = 0;
  while (reader == list[0] || std::ranges::find(now, reader) != now.end()) ++reader;
  c.cut(reader, list[1]); // of the lists one alone is silent; the other holder is dead, and a source of the rest
  const auto f = c.fetch(reader, alice);
  CHECK(f.records.empty());
  CHECK_FALSE(f.firm);
}

TEST_CASE("scenario 8: held for dead by mistake, a node whose own lists never changed is not sure until it has merged") {
  cluster c;
  grow(c, 4);
  const auto a = c.owner_of(alice);
  c.nodes[a]->view_frozen = true;
  c.nodes[a]->state = member_state::dead;
  c.publish();
  c.run(seconds(1));
  const auto heir = c.owner_of(alice);
  REQUIRE(heir != a);
  c.cut(a, heir);
  REQUIRE(c.put(heir, alice, "phone", "v").outcome.has_value());
  c.heal(a, heir);
  c.nodes[a]->view_frozen = false;
  c.nodes[a]->state = member_state::active;
  c.nodes[a]->sees = std::map<std::size_t, member_state>{};
  REQUIRE_FALSE(c.value(a, alice, "phone"));
  c.refute(a); // its own tables are the same objects as before
  CHECK_FALSE(c.at(a).answers_for(alice));
  CHECK(c.fetch(a, alice).records.size() == 1);
  c.nodes[a]->sees.reset();
  c.publish();
  CHECK(rested(c));
  CHECK(c.at(a).answers_for(alice));
  CHECK(c.value(a, alice, "phone") == "v");
}

TEST_CASE("scenario 10: an empty joiner that hears an unlisted node only does not say no") {
  cluster c;
  grow(c, 5);
  const auto list = c.list_of(alice);
  REQUIRE(c.put(list[0], alice, "phone", "v").outcome.has_value());
  std::size_t unlisted = 0;
  while (std::ranges::find(list, unlisted) != list.end()) ++unlisted;
  c.run(milliseconds(100));
  const auto j = c.join("", false);
  c.nodes[j]->sees.emplace();
  for (const auto n : list) {
    c.cut(j, n);
    c.cut(unlisted, n);
    (*c.nodes[j]->sees)[n] = member_state::dead;
  }
  c.nodes[unlisted]->sees = c.nodes[j]->sees;
  c.publish();
  c.run(seconds(3));
  c.set_state(j, member_state::active);
  c.run(seconds(2));
  CHECK_FALSE(c.at(j).answers_for(alice));
  CHECK_FALSE(c.fetch(j, alice).firm);
  CHECK_FALSE(c.fetch(unlisted, alice).firm);
}

TEST_CASE("scenario 11: a node that restarts with an empty disk holds everything before it says anything") {
  cluster c;
  grow(c, 3);
  REQUIRE(c.put(0, alice, "phone", "v").outcome.has_value());
  REQUIRE(c.put(0, alice, "", "hash", table::subscribers).outcome.has_value());
  c.run(seconds(1));
  const auto owner = c.owner_of(alice);
  c.nodes[owner]->activate_when_settled = false;
  c.nodes[owner]->settled_calls = 0;
  c.restart(owner, false); // nobody saw it die
  CHECK_FALSE(c.at(owner).answers_for(alice));
  REQUIRE(c.run_until([&] { return c.nodes[owner]->settled_calls > 0; }));
  CHECK(c.value(owner, alice, "phone") == "v");
  CHECK(c.value(owner, alice, "", table::subscribers) == "hash");
  c.set_state(owner, member_state::active);
  CHECK(rested(c));
  CHECK(c.at(owner).answers_for(alice));
}

TEST_CASE("scenario 12: a leaver with its last batch in flight has not handed over") {
  cluster c;
  grow(c, 4);
  const auto owner = c.owner_of(alice);
  const auto list = c.list_of(alice);
  c.set_state(owner, member_state::draining);
  REQUIRE(c.run_until([&] { return c.at(owner).handed_over(); }));
  bool lost = false;
  c.lose = [&](const node_id& from, const node_id& to, const frame& f) {
    const bool last = f.type == frame_type::store_write && from == c.nodes[owner]->id && to == c.nodes[list[2]]->id;
    lost = lost || last;
    return last;
  };
  REQUIRE(c.write(owner, alice, "phone", "v").outcome.has_value());
  CHECK(lost);
  CHECK_FALSE(c.at(owner).handed_over()); // a copy has not confirmed what it was sent
  c.run(milliseconds(1200));
  CHECK((c.at(owner).stats().behind > 0 || c.value(list[2], alice, "phone") == "v"));
  REQUIRE(c.run_until([&] { return c.at(owner).handed_over(); }));
  CHECK(c.value(list[2], alice, "phone") == "v"); // by the merge
}

TEST_CASE("scenario 13: two nodes are cut, act alone, half heal and are cut again: what both acknowledged is there in the end") {
  cluster c;
  grow(c, 2);
  const auto apart = [&](std::vector<std::size_t> blind) {
    for (std::size_t n = 0; n < 2; ++n) c.nodes[n]->sees.reset();
    for (const auto n : blind) c.nodes[n]->sees = std::map<std::size_t, member_state>{{1 - n, member_state::dead}};
    c.publish();
    c.run(seconds(1));
  };
  c.cut(0, 1);
  apart({0, 1});
  CHECK(c.at(0).stats().alone);
  for (std::size_t n = 0; n < 2; ++n) REQUIRE(c.put(n, alice, "of " + std::to_string(n), "first").outcome.has_value());
  CHECK_FALSE(c.fetch(0, key_of_aor("sip:nobody@example.com")).firm); // the other may have it
  apart({1}); // node 0 sees node 1 again, and nothing comes through
  c.run(seconds(1));
  apart({0, 1});
  for (std::size_t n = 0; n < 2; ++n) REQUIRE(c.put(n, alice, "again " + std::to_string(n), "second").outcome.has_value());
  c.heal(0, 1);
  apart({});
  CHECK(rested(c));
  for (std::size_t n = 0; n < 2; ++n) {
    CHECK(c.at(n).read(table::bindings, alice).size() == 4);
    CHECK(c.at(n).stats().incomplete == 0);
  }
  CHECK(c.fetch(0, key_of_aor("sip:nobody@example.com")).firm);
}

TEST_CASE("scenario 17: a slow copy is behind, and the owner goes on as if it were not") {
  cluster c;
  grow(c, 3);
  const auto list = c.list_of(alice);
  c.refusing.insert({c.nodes[list[0]]->id, c.nodes[list[2]]->id});
  const auto began = c.time.now();
  REQUIRE(c.write(list[0], alice, "phone", "v").outcome.has_value());
  CHECK(c.time.now() - began < milliseconds(5));
  c.run(milliseconds(1500));
  CHECK(c.at(list[0]).stats().behind == 1);
  CHECK(c.at(list[0]).settled());
  CHECK(c.at(list[0]).answers_for(alice));
  CHECK(c.at(list[0]).stats().copying == 0); // nothing is kept for it but the mark
  REQUIRE(c.write(list[0], alice, "phone", "w").outcome.has_value());
  c.refusing.clear();
  CHECK(rested(c));
  CHECK(c.value(list[2], alice, "phone") == "w");
}

TEST_CASE("scenario 18: clocks that ran apart: merges take everything, and an hour ahead costs that item only") {
  cluster c;
  grow(c, 3);
  const auto owner = c.owner_of(alice);
  const auto other = c.list_of(alice)[1];
  c.nodes[owner]->clock_off = seconds(-3); // of this one's time the others' versions are 3 s ahead
  record ahead{table::bindings, alice, "phone", "3 s ahead", {static_cast<std::uint64_t>(c.time.wall()) << 16, 7}, c.time.wall() + 600'000, false};
  record hour{table::bindings, alice, "desk", "an hour ahead", {static_cast<std::uint64_t>(c.time.wall() + 3'600'000) << 16, 7}, c.time.wall() + 9'000'000, false};
  c.nodes[owner]->disk.log.push_back(encode_batch(std::vector{ahead, hour})); // and the merge takes them to the others
  c.restart(owner);
  CHECK(rested(c));
  for (const auto n : c.list_of(alice)) CHECK(c.value(n, alice, "desk") == "an hour ahead");
  // Over 2 s ahead of this node's time: no version is made above it, the write is refused; other items go on.
  CHECK_FALSE(c.write(owner, alice, "desk", "later").outcome.has_value());
  REQUIRE(c.write(owner, alice, "third", "v").outcome.has_value());
  CHECK(c.value(owner, alice, "desk") == "an hour ahead");
  c.run(seconds(3)); // 3 s are made good in 3 s
  REQUIRE(c.write(owner, alice, "phone", "later").outcome.has_value());
  CHECK(c.value(other, alice, "phone") == "later");
  c.time.advance(std::chrono::minutes(61));
  c.run(seconds(1));
  REQUIRE(c.write(owner, alice, "desk", "later").outcome.has_value());
  CHECK(c.value(other, alice, "desk") == "later");
}
