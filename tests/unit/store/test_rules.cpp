// Rules of consistency.md §3 and §4 that no other test here failed without (docs/benchmarks/dropped-rules.md).
#include "tests/unit/store/cluster.hpp"

#include "dht/store/merge_messages.hpp"
#include "dht/store/messages.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

const ring_key alice = key_of_aor("sip:alice@example.com");

void grow(cluster& c, std::size_t n) {
  c.start(std::vector<std::string>(n));
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), std::size_t{0});
  c.set_base(all);
  c.run(seconds(1));
}

} // namespace

TEST_CASE("acks: what the owner's own disk does not hold is not acknowledged, however many copies do (§3)") {
  cluster c;
  grow(c, 3);
  const auto k = c.key_owned_by(0);
  c.nodes[0]->disk.failing = true;
  CHECK(c.write(0, k, "phone", "v").outcome.error() == write_error::not_acknowledged);
}

TEST_CASE("acks: of a joiner, which is written to and not read from yet, none counts (§3)") {
  cluster c;
  grow(c, 4);
  const auto j = c.join("", false);
  c.run(seconds(1));
  std::optional<ring_key> k;
  for (int i = 0; i < 1000 && !k; ++i) {
    const auto candidate = key_of_aor("sip:j" + std::to_string(i) + "@example.com");
    if (c.nodes[0]->tables.target->at(partition_of(candidate)).has(c.nodes[j]->id)) k = candidate;
  }
  REQUIRE(k);
  const auto owner = c.owner_of(*k);
  REQUIRE(owner != j);
  c.lose = [&](const node_id&, const node_id& to, const frame& f) { return f.type == frame_type::store_write && to != c.nodes[j]->id; };
  CHECK(c.write(owner, *k, "phone", "v").outcome.error() == write_error::not_acknowledged);
}

TEST_CASE("acks: refused once for an older view, a write is sent again as soon as facts were exchanged (§3)") {
  cluster c;
  grow(c, 3);
  const auto k = c.key_owned_by(0);
  const auto list = c.list_of(k);
  int refusals = 0;
  c.lose = [&](const node_id& from, const node_id& to, const frame& f) {
    if (f.type != frame_type::store_write || from != c.nodes[0]->id) return false;
    if (to != c.nodes[list[1]]->id) return true; // the third is silent
    if (refusals++ > 0) return false;
    store_ack a;
    const auto w = store_write::decode(f);
    for (const auto& e : w->entries) a.entries.emplace_back(e.number, store_ack::status::not_owner);
    c.timers.at(c.time.now() + milliseconds(1), [&c, to, a] { c.at(0).on_frame(to, a.encode()); });
    return true;
  };
  const auto began = c.time.now();
  CHECK(c.write(0, k, "phone", "v").outcome.has_value());
  CHECK(c.time.now() - began < milliseconds(400)); // without an exchange it is tried again after 500 ms
}

TEST_CASE("handover: an heir that is settled under another view has not confirmed (§3)") {
  cluster c;
  grow(c, 4);
  std::optional<view_stamp> stamp;
  c.lose = [&](const node_id& from, const node_id&, const frame& f) {
    if (f.type != frame_type::store_state || from != c.nodes[3]->id) return false;
    if (const auto q = store_state::decode(f)) stamp = q->stamp;
    return true; // nobody is asked
  };
  c.set_state(3, member_state::draining);
  c.run(seconds(2));
  REQUIRE(stamp);
  const auto all_say = [&](const view_stamp& s) {
    for (std::size_t n = 0; n < 3; ++n) c.at(3).on_frame(c.nodes[n]->id, store_state{false, s, true}.encode());
  };
  CHECK_FALSE(c.at(3).handed_over());
  auto other = *stamp;
  ++other.hash;
  all_say(other);
  CHECK_FALSE(c.at(3).handed_over());
  all_say(*stamp);
  CHECK(c.at(3).handed_over());
}

TEST_CASE("sources: what an owner has not merged yet it asks for before a rule judges by it (§4)") {
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
  c.lose = [](const node_id&, const node_id&, const frame& f) { return f.type == frame_type::store_compare; }; // no merge comes first
  c.nodes[a]->view_frozen = false;
  c.nodes[a]->state = member_state::active;
  c.refute(a);
  REQUIRE_FALSE(c.value(a, alice, "phone"));
  std::optional<std::vector<record>> judged_by;
  c.at(a).write(
      table::bindings, alice,
      [&](const std::vector<record>& current) -> std::expected<std::vector<change>, int> {
        judged_by = current;
        return std::unexpected(-1);
      },
      [](write_result) {});
  c.run_until([&] { return judged_by.has_value(); });
  REQUIRE(judged_by);
  REQUIRE(judged_by->size() == 1);
  CHECK(judged_by->front().value == "v");
}

TEST_CASE("sources: one that the other still has to merge with becomes one's own by a merge with that other (§4)") {
  cluster c;
  grow(c, 5);
  // x sees, alone, that a node of the list is gone and back: a fourth one was listed meanwhile.
  std::optional<ring_key> k;
  std::vector<std::size_t> list;
  for (int i = 0; i < 1000 && !k; ++i) {
    const auto candidate = key_of_aor("sip:s" + std::to_string(i) + "@example.com");
    list = c.list_of(candidate);
    if (c.nodes[list[0]]->id < c.nodes[list[2]]->id) k = candidate; // who asks in the background
  }
  REQUIRE(k);
  const auto owner = list[0], gone = list[1], x = list[2];
  c.lose = [&](const node_id& from, const node_id& to, const frame& f) {
    if (f.type != frame_type::store_compare) return false;
    return from == c.nodes[x]->id || (from == c.nodes[owner]->id && to != c.nodes[x]->id);
  };
  c.nodes[x]->sees = std::map<std::size_t, member_state>{{gone, member_state::dead}};
  c.publish();
  c.nodes[x]->sees.reset();
  c.publish();
  c.run(seconds(1));
  REQUIRE_FALSE(c.at(x).settled());
  REQUIRE(c.at(owner).settled());
  c.run(seconds(130));
  CHECK_FALSE(c.at(owner).settled());
  c.lose = {};
  CHECK(c.run_until([&] { return c.at(owner).settled() && c.at(x).settled(); }, seconds(30)));
}

TEST_CASE("handover: what the smaller part of a cut acknowledged reaches those who are listed, none of whom was there (decision 37)") {
  cluster c;
  grow(c, 7);
  // A key whose list has neither 5 nor 6, not even where one of the list is gone (a death that was missed).
  ring_key k;
  std::vector<std::size_t> list;
  const auto far = [&](const ring& r) { return !r.at(k).has(c.nodes[5]->id) && !r.at(k).has(c.nodes[6]->id); };
  const auto far_without = [&](std::size_t n) {
    const auto all = c.nodes[0]->tables.serving->members();
    std::vector<ring_member> members(all.begin(), all.end());
    std::erase_if(members, [&](const ring_member& m) { return m.id == c.nodes[n]->id; });
    return far(*ring::build(std::move(members)));
  };
  for (int i = 0; list.empty() || !far(*c.nodes[0]->tables.serving) || !std::ranges::all_of(list, far_without); ++i) {
    k = key_of_aor("sip:s" + std::to_string(i) + "@example.com");
    list = c.list_of(k);
  }
  REQUIRE(c.write(list[0], k, "phone", "old").outcome.has_value());
  const auto apart = [&](bool cut) {
    for (std::size_t x : {5, 6})
      for (std::size_t y = 0; y < 5; ++y) {
        for (const auto& [who, whom] : {std::pair(x, y), std::pair(y, x)}) {
          if (!c.nodes[who]->sees) c.nodes[who]->sees.emplace();
          (*c.nodes[who]->sees)[whom] = member_state::dead;
        }
        if (cut) c.cut(x, y);
        else c.heal(x, y);
      }
    if (!cut)
      for (auto& n : c.nodes) {
        n->sees.reset();
        ++n->life; // each was held for dead by somebody
      }
    c.publish();
    c.run(seconds(1));
  };
  apart(true);
  REQUIRE((c.write(5, k, "phone", "new").outcome.has_value() || c.write(6, k, "phone", "new").outcome.has_value()));
  apart(false);
  CHECK(c.run_until([&] { return std::ranges::all_of(list, [&](std::size_t n) { return c.value(n, k, "phone") == "new"; }); }, seconds(3)));
  c.run(seconds(100)); // both have dropped it
  const auto found = c.fetch(5, k).records;
  REQUIRE(found.size() == 1);
  CHECK(found.front().value == "new");
  for (const std::size_t n : {5, 6}) CHECK(c.at(n).stats().unlisted == 0);
}

TEST_CASE("merges: what one copy alone has reaches those who ask it and those whom it asks (§4)") {
  cluster c;
  grow(c, 3);
  std::optional<ring_key> k; // not owned by the one that asks all others
  const auto smallest = static_cast<std::size_t>(std::ranges::min_element(c.nodes, {}, [](const auto& n) { return n->id; }) - c.nodes.begin());
  for (int i = 0; i < 1000 && !k; ++i) {
    const auto candidate = key_of_aor("sip:m" + std::to_string(i) + "@example.com");
    if (c.owner_of(candidate) != smallest) k = candidate;
  }
  REQUIRE(k);
  const auto owner = c.owner_of(*k);
  for (std::size_t n = 0; n < 3; ++n) {
    if (n == owner) continue;
    const record r{table::subscribers, *k, "at " + std::to_string(n), "v", {static_cast<std::uint64_t>(c.time.wall()) << 16, n}, 0, false};
    c.at(n).on_frame(c.nodes[owner]->id, store_write{{}, {{1, {r}}}}.encode()); // of a write that the owner knows nothing of
  }
  c.run(seconds(200));
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t at = 0; at < 3; ++at)
      if (at != owner) CHECK(c.value(n, *k, "at " + std::to_string(at), table::subscribers) == "v");
}

TEST_CASE("merges: what is not on this disk is not merged (§4)") {
  cluster c;
  grow(c, 3);
  for (int i = 0; i < 50; ++i) REQUIRE(c.put(0, key_of_aor("sip:d" + std::to_string(i) + "@example.com"), "", "v", table::subscribers).outcome);
  const auto j = c.join("", false);
  c.nodes[j]->disk.failing = true;
  c.run(seconds(5));
  CHECK_FALSE(c.at(j).settled());
  c.nodes[j]->disk.failing = false;
  CHECK(c.run_until([&] { return c.at(j).settled(); }, seconds(30)));
}
