// Sources by themselves (consistency.md §4): what is added, united, struck off, forgotten, and what is kept on disk.
#include "dht/ring/rings.hpp"
#include "dht/store/placement.hpp"
#include "dht/store/tables.hpp"

#include "base/crypto.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;

namespace {

constexpr unix_ms t0 = 1'700'000'000'000;

node_id node(int i) { return *node_id::from_bytes(crypto::sha1("node " + std::to_string(i))); }

partition_set only(partition p) {
  partition_set s;
  s.set(p);
  return s;
}

// A view of nodes 0..states-1 as node 0 has it.
struct small_view {
  std::vector<member_state> states;
  std::map<int, std::uint32_t> incarnations;
  std::uint64_t stamp = 0;
  rings tables;
  bool bodies = true; // else others are known by their ids alone

  void give(placement& p, unix_ms now) {
    auto v = std::make_shared<view>();
    v->self = node(0);
    v->stamp = {++stamp, stamp};
    for (std::size_t i = 0; i < states.size(); ++i) {
      member m;
      m.id = node(static_cast<int>(i));
      m.life = 1;
      m.incarnation = incarnations[static_cast<int>(i)];
      m.state = states[i];
      if (bodies || i == 0) {
        m.body.version = 1;
        m.body.roles.add(role::registrar);
      }
      v->members.push_back(std::move(m));
    }
    std::ranges::sort(v->members, {}, &member::id);
    tables.update(*v);
    p.set(v, tables.of(role::registrar), now);
  }
};

base of(int n) {
  base b{1, {}};
  for (int i = 0; i < n; ++i) b.members.push_back(node(i));
  std::ranges::sort(b.members);
  return b;
}

void merge_all(placement& p, unix_ms now) {
  for (const auto& id : p.live_sources()) {
    const auto parts = *p.all_sources().open(id);
    p.ask(id, parts);
    p.strike(id, parts, p.stamp(), now);
  }
}

} // namespace

TEST_CASE("scenario 5: B waits for C, C for D, D for C, and those two do not reach each other: uniting comes to an end") {
  const partition p{7};
  source_sets b(node(1)), c(node(2)), d(node(3));
  b.add(node(2), p, t0);
  c.add(node(3), p, t0);
  d.add(node(2), p, t0);
  int merges = 0;
  for (; !b.of(p).empty() && merges < 20; ++merges) {
    const auto other = b.of(p).front();
    b.asked(other, only(p));
    b.unite((other == node(2) ? c : d).within(only(p), true), only(p));
    b.strike(other, only(p), true);
  }
  CHECK(merges == 2);
}

TEST_CASE("sources: who is added again while the merge runs is not struck off") {
  source_sets s(node(0));
  const partition p{1};
  s.add(node(1), p, t0);
  s.asked(node(1), only(p));
  s.add(node(1), p, t0 + 1);
  s.strike(node(1), only(p), true);
  CHECK(s.of(p).size() == 1);
  s.asked(node(1), only(p));
  s.strike(node(1), only(p), true);
  CHECK(s.of(p).empty());
}

TEST_CASE("sources: uniting takes over the age, and after a new stamp what was merged with before is merged with again") {
  source_sets s(node(0));
  const partition p{1};
  const std::vector<told_source> told{{node(2), t0 - 5000, only(p)}};
  s.unite(told, only(p));
  REQUIRE(s.all().size() == 1);
  CHECK(s.all()[0].since == t0 - 5000);
  s.asked(node(2), only(p));
  s.strike(node(2), only(p), true);
  s.unite(told, only(p));
  CHECK(s.all().empty());
  s.stamp_changed();
  s.unite(told, only(p));
  CHECK(s.all().size() == 1);
}

TEST_CASE("sources: of nodes that others make up no more are taken than a view may have") {
  source_sets s(node(0));
  const partition p{7}, q{8};
  const auto tell = [&](int i, partition of) {
    const told_source one{node(i), t0, only(of)};
    partition_set all;
    all.set_all();
    s.unite({&one, 1}, all);
  };
  for (int i = 1; i <= static_cast<int>(sources_max) + 100; ++i) tell(i, p);
  CHECK(s.of(p).size() == sources_max);
  tell(1, q); // one that is known
  CHECK(s.of(q).size() == 1);
  s.add(node(-1), q, t0); // what this node's own lists say is never left out
  CHECK(s.of(q).size() == 2);
}

TEST_CASE("behind: a merge that began before the mark does not clear it") {
  behind_marks b;
  const partition p{3}, q{4};
  b.mark(node(1), p);
  b.asked(node(1), only(p));
  b.mark(node(1), p);
  b.mark(node(1), q);
  b.confirmed(node(1));
  CHECK(b.count() == 2);
  partition_set both = only(p);
  both |= only(q);
  b.asked(node(1), both);
  b.confirmed(node(1));
  CHECK(b.none());
}

TEST_CASE("behind: what a merge asks for bit by bit counts from when each was asked for") {
  behind_marks b;
  const partition p{3}, q{4};
  b.mark(node(1), p);
  b.mark(node(1), q);
  b.asked_more(node(1), only(p));
  b.mark(node(1), p); // after it was read
  b.asked_more(node(1), only(q));
  b.confirmed(node(1));
  CHECK(b.of(node(1))->test(p));
  CHECK(b.count() == 1);
  b.asked_more(node(1), only(p));
  b.asked(node(1), {}); // that merge was broken off, another began
  b.confirmed(node(1));
  CHECK(b.count() == 1);
}

TEST_CASE("placement: the dead of old lists stay sources, and w - 1 of them do not hinder; more do") {
  placement p(node(0));
  small_view v{std::vector<member_state>(6, member_state::active), {}, 0, {}};
  p.set_base(of(6), t0);
  v.give(p, t0);
  merge_all(p, t0);
  CHECK(p.settled());
  CHECK(p.missing().empty());
  v.states[4] = v.states[5] = member_state::dead;
  v.give(p, t0 + 1);
  CHECK(p.unsettled_count() > 0);
  merge_all(p, t0 + 1);
  CHECK(p.settled());
  CHECK(p.incomplete_count() > 0);
  for (const auto& m : p.missing()) CHECK_FALSE(m.alive);
  v.states[5] = member_state::left; // revoked, or it says so after all
  v.give(p, t0 + 2);
  merge_all(p, t0 + 2);
  CHECK(p.incomplete_count() == 0);
  CHECK(p.missing().empty()); // one dead source is forgotten once all is complete
}

TEST_CASE("scenario 14: a dead source is forgotten for volatile tables by the time it was last added, durable ones wait on") {
  placement p(node(0));
  small_view v{std::vector<member_state>(2, member_state::active), {}, 0, {}};
  p.set_base(of(2), t0);
  v.give(p, t0);
  merge_all(p, t0);
  const auto k = key_of_aor("sip:alice@example.com");
  const auto at = partition_of(k);
  const auto grant = longest_grant(table::bindings).count();
  v.states[1] = member_state::dead;
  v.give(p, t0);
  CHECK_FALSE(p.complete(at, table::bindings));
  v.states[1] = member_state::active; // it comes for a moment, goes on writing alone, and is gone again
  v.give(p, t0 + grant / 2);
  v.states[1] = member_state::dead;
  v.give(p, t0 + grant / 2 + 1);
  p.turn(t0 + grant + 1);
  CHECK_FALSE(p.complete(at, table::bindings));
  p.turn(t0 + grant / 2 + grant + 2);
  CHECK(p.complete(at, table::bindings));
  CHECK(p.answers_for(table::bindings, key_of_aor("sip:alice@example.com")));
  CHECK_FALSE(p.complete(at, table::subscribers));
  CHECK(p.accept_loss(t0) == std::vector<node_id>{node(1)});
  CHECK(p.complete(at, table::subscribers));
}

TEST_CASE("placement: an incarnation that rose is a death that was missed, at others and at the node itself") {
  for (const int risen : {0, 3}) {
    placement p(node(0));
    small_view v{std::vector<member_state>(5, member_state::active), {}, 0, {}};
    p.set_base(of(5), t0);
    v.give(p, t0);
    merge_all(p, t0);
    REQUIRE(p.settled());
    const auto tables = v.tables.of(role::registrar);
    ++v.incarnations[risen];
    v.give(p, t0 + 1);
    CHECK(v.tables.of(role::registrar).serving == tables.serving); // no list changed
    CHECK(p.unsettled_count() > 0);
    p.listed().for_each([&](partition each) {
      const bool touched = tables.serving->at(each).has(node(risen));
      CHECK(p.settled(each) == !touched);
    });
  }
}

TEST_CASE("placement: lists and sources come back from the disk, and what changed meanwhile is added") {
  std::string saved;
  std::size_t open = 0;
  {
    placement p(node(0));
    small_view v{std::vector<member_state>(4, member_state::active), {}, 0, {}};
    p.set_base(of(4), t0);
    v.give(p, t0);
    merge_all(p, t0);
    v.states[3] = member_state::dead;
    v.give(p, t0 + 1);
    open = p.missing().size();
    REQUIRE(open > 0);
    CHECK(p.changed());
    saved = p.save();
  }
  placement p(node(0));
  REQUIRE(p.restore(saved));
  small_view v{{member_state::joining, member_state::active, member_state::active, member_state::dead, member_state::active}, {}, 0, {}};
  p.set_base(of(3), t0 + 2); // node 3 is not in the base any more: only the disk knows that it is missed
  v.give(p, t0 + 2);
  bool dead_one = false;
  for (const auto& m : p.missing()) dead_one = dead_one || m.id == node(3);
  CHECK(dead_one);
  CHECK(p.live_sources().size() == 3);
  placement q(node(0));
  CHECK_FALSE(q.restore("nonsense"));
  CHECK_FALSE(q.restore(saved.substr(0, saved.size() / 2)));
}

TEST_CASE("placement: who was listed before a restart and is dead after it is a source, by the lists on disk") {
  std::string saved;
  {
    placement p(node(0));
    small_view v{std::vector<member_state>(4, member_state::active), {}, 0, {}};
    p.set_base(of(4), t0);
    v.give(p, t0);
    merge_all(p, t0);
    REQUIRE(p.missing().empty());
    saved = p.save();
  }
  placement p(node(0));
  REQUIRE(p.restore(saved));
  p.set_base(of(4), t0);
  small_view v{std::vector<member_state>(4, member_state::active), {}, 0, {}};
  v.states[3] = member_state::dead;
  v.give(p, t0 + 1);
  CHECK(std::ranges::any_of(p.missing(), [](const missing_source& m) { return m.id == node(3); }));
}

TEST_CASE("placement: a joiner's old lists are those of the base; of whom nothing is known it is missed everywhere") {
  placement p(node(0));
  small_view v{{member_state::joining, member_state::active, member_state::dead}, {}, 0, {}};
  v.give(p, t0);
  merge_all(p, t0);
  REQUIRE(p.settled());
  p.set_base(of(4), t0 + 1); // node 3 is in no view
  CHECK_FALSE(p.settled());
  const auto missing = p.missing();
  const auto of_node = [&](int i) {
    const auto at = std::ranges::find(missing, node(i), &missing_source::id);
    return at == missing.end() ? std::size_t{0} : at->partitions;
  };
  CHECK(of_node(1) > 0);
  CHECK(of_node(2) > 0);
  CHECK(of_node(3) == p.listed().count());
}

TEST_CASE("placement: of whom a joiner knows only the id it suspects all, tells nobody so, and once it knows more merges with the listed only") {
  placement p(node(0));
  p.set_base(of(42), t0); // two were forgotten long ago
  small_view v;
  v.states.assign(1, member_state::joining);
  v.give(p, t0);
  CHECK_FALSE(p.learning()); // nobody is there
  v.states.insert(v.states.end(), 39, member_state::active);
  v.bodies = false;
  v.give(p, t0);
  CHECK(p.learning());
  CHECK_FALSE(p.settled());
  CHECK(p.told_sources(p.listed()).empty());
  v.bodies = true;
  v.give(p, t0);
  CHECK_FALSE(p.learning());
  REQUIRE(p.live_sources().size() == 39);
  std::vector<ring_member> members;
  for (int i = 0; i < 40; ++i) members.push_back({node(i), 100, {}});
  const auto of_base = ring::build(members);
  const auto now = v.tables.of(role::registrar);
  std::size_t wrong = 0;
  for (int i = 1; i < 40; ++i) {
    const auto open = *p.all_sources().open(node(i));
    p.listed().for_each([&](partition q) { wrong += open.test(q) != (of_base->at(q).has(node(i)) || now.serving->at(q).has(node(i))); });
  }
  CHECK(wrong == 0);
  CHECK(*p.all_sources().open(node(40)) == [] { partition_set all; all.set_all(); return all; }());
  CHECK(p.told_sources(p.listed()).size() == 39);
  merge_all(p, t0);
  CHECK(p.settled());
  CHECK(p.told_sources(p.listed()).empty());
  v.states[0] = member_state::active;
  v.give(p, t0);
  const auto told = p.told_sources(p.listed()); // who stays a stranger is missed by this node now
  CHECK(std::ranges::count(told, node(40), &told_source::id) == 1);
}

TEST_CASE("sources: what was guessed and is added besides stays, and a guess that was merged with is over") {
  source_sets s(node(0));
  const partition p{1}, q{2}, r{70};
  partition_set all = only(p);
  all.set(q);
  all.set(r);
  s.suspect(node(1), all, t0);
  s.add(node(1), p, t0);
  s.asked(node(1), only(r));
  s.strike(node(1), only(r), true);
  CHECK(*s.open(node(1)) == (only(p) |= only(q)));
  CHECK(s.within(all, false).at(0).open == only(p));
  s.cleared(node(1));
  CHECK(*s.open(node(1)) == only(p));
  s.suspect(node(1), all, t0);
  const std::vector<told_source> told{{node(1), t0, only(q)}};
  s.unite(told, all);
  s.cleared(node(1));
  CHECK(*s.open(node(1)) == (only(p) |= only(q)));
}
