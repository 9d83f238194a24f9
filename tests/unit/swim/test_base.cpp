// The base (consistency.md §7), and what broke earlier versions of its rule (§10: 9, 10, 13, 20).
#include "dht/swim/base_keeper.hpp"
#include "tests/sim/swim_net.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using namespace skald;
using namespace skald::dht;
using namespace skald::sim;

namespace {

node_id id_of(std::uint8_t n) {
  node_id id;
  id.bytes.fill(n);
  return id;
}

constexpr mono_time start = mono_time{seconds(100)};

// A view of node 1 from (number, state) pairs, sorted by number.
view_ptr seen(std::vector<std::pair<std::uint8_t, member_state>> members) {
  auto v = std::make_shared<view>();
  v->self = id_of(1);
  for (const auto& [n, s] : members) v->members.push_back({.id = id_of(n), .state = s, .body = {}});
  return v;
}
constexpr auto joining = member_state::joining, active = member_state::active, dead = member_state::dead, left = member_state::left;

std::vector<node_id> ids(std::initializer_list<std::uint8_t> numbers) {
  std::vector<node_id> out;
  for (const std::uint8_t n : numbers) out.push_back(id_of(n));
  return out;
}

base_keeper with_base(std::initializer_list<std::uint8_t> numbers) { return base_keeper({5, ids(numbers)}); }

std::vector<int> numbers(int from, int to) {
  std::vector<int> out(static_cast<std::size_t>(to - from));
  std::iota(out.begin(), out.end(), from);
  return out;
}

} // namespace

TEST_CASE("base: it grows at once, by those who are active") {
  base_keeper k = with_base({1, 2});
  CHECK_FALSE(k.look(seen({{1, active}, {2, active}, {3, joining}}), true, start));
  CHECK(k.look(seen({{1, active}, {2, active}, {3, active}}), true, start));
  CHECK(k.current() == base{6, ids({1, 2, 3})});
  CHECK_FALSE(k.look(seen({{1, active}, {2, joining}, {3, active}}), true, start)); // started again: it still counts
  CHECK(k.here() == 3);
}

TEST_CASE("base: a joiner sets none, whatever it sees") {
  base_keeper k{{}};
  CHECK_FALSE(k.look(seen({{1, joining}, {2, active}}), false, start));
  k.showed(id_of(2), true, start);
  CHECK_FALSE(k.settle(start + seconds(60)));
  CHECK(k.current().epoch == 0);
}

TEST_CASE("base: it shrinks after ten seconds in which all who are here showed our stamp") {
  base_keeper k = with_base({1, 2, 3});
  CHECK_FALSE(k.look(seen({{1, active}, {2, active}, {3, dead}}), true, start));
  CHECK_FALSE(k.settle(start + seconds(11))); // 2 has not shown anything
  k.showed(id_of(2), true, start + seconds(11));
  CHECK(k.settle(start + seconds(12)));
  CHECK(k.current() == base{6, ids({1, 2})});
}

TEST_CASE("base: a member that shows another stamp makes the ten seconds begin anew") {
  base_keeper k = with_base({1, 2, 3});
  k.look(seen({{1, active}, {2, active}, {3, dead}}), true, start);
  k.showed(id_of(2), false, start + seconds(8));
  k.showed(id_of(2), true, start + seconds(9));
  CHECK_FALSE(k.settle(start + seconds(17)));
  CHECK(k.settle(start + seconds(18)));
}

TEST_CASE("base: who does not hold more than half of the old one never sets it") {
  base_keeper k = with_base({1, 2, 3, 4});
  k.look(seen({{1, active}, {2, active}, {3, dead}, {4, dead}}), true, start);
  for (int s = 1; s < 100; ++s) {
    k.showed(id_of(2), true, start + seconds(s));
    CHECK_FALSE(k.settle(start + seconds(s)));
  }
  CHECK_FALSE(k.majority());
}

TEST_CASE("base: a member that left does not count any more, and is out at once") {
  base_keeper k = with_base({1, 2, 3});
  CHECK(k.look(seen({{1, active}, {2, active}, {3, left}}), true, start));
  CHECK(k.current().members == ids({1, 2}));
  base_keeper half = with_base({1, 2, 3, 4});
  half.look(seen({{1, active}, {2, active}, {3, dead}, {4, left}}), true, start);
  CHECK(half.majority()); // two of three
}

TEST_CASE("base: who left is out at once, whoever else is missing; none of those who died is") {
  base_keeper k = with_base({1, 2, 3, 4, 5});
  CHECK_FALSE(k.look(seen({{1, active}, {2, dead}, {3, dead}, {4, dead}, {5, active}}), true, start));
  CHECK_FALSE(k.look(seen({{1, active}, {2, dead}, {3, dead}, {4, left}, {5, active}}), false, start)); // a joiner, or one in doubt
  CHECK(k.look(seen({{1, active}, {2, dead}, {3, dead}, {4, left}, {5, active}}), true, start));
  CHECK(k.current() == base{6, ids({1, 2, 3, 5})});
  CHECK_FALSE(k.majority()); // two of four, as before
  CHECK_FALSE(k.settle(start + seconds(60)));
  // It comes back as a joiner, and grows the base as any other.
  CHECK_FALSE(k.look(seen({{1, active}, {2, dead}, {3, dead}, {4, joining}, {5, active}}), true, start));
  CHECK(k.counted() == 4);
}

TEST_CASE("base: of a large cluster over half of the last sixteen probes decide") {
  std::vector<std::pair<std::uint8_t, member_state>> all;
  base b{1, {}};
  for (std::uint8_t n = 1; n <= 40; ++n) {
    all.emplace_back(n, n == 40 ? dead : active);
    b.members.push_back(id_of(n));
  }
  base_keeper k(b);
  k.look(seen(all), true, start);
  for (int i = 0; i < 8; ++i) k.probed(true, start + seconds(i));
  CHECK_FALSE(k.settle(start + seconds(20)));
  k.probed(true, start + seconds(20));
  CHECK(k.settle(start + seconds(20)));
  CHECK(k.current().size() == 39);
}

TEST_CASE("base: of two the higher epoch is adopted; of one epoch both sides choose the same") {
  base_keeper k = with_base({1, 2});
  CHECK_FALSE(k.adopt({4, ids({1, 2, 3})}, start));
  CHECK(k.adopt({6, ids({2})}, start));
  CHECK(newer({6, ids({1, 2})}, {6, ids({3})}));
  CHECK(newer({6, ids({2})}, {6, ids({1})}));
  CHECK_FALSE(newer({6, ids({1})}, {6, ids({1})}));
}

TEST_CASE("base: the operator's word makes one of who is here") {
  base_keeper k = with_base({2, 3, 4});
  k.look(seen({{1, joining}, {2, dead}, {3, joining}, {4, dead}}), false, start);
  CHECK_FALSE(k.majority());
  k.accept(start);
  CHECK(k.current() == base{6, ids({1, 3})});
  CHECK(k.majority());
}

// ---- with membership around it, on a simulated network

TEST_CASE("base, simulated: it is the same everywhere, follows a death after ten seconds and a newcomer at once") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    swim_net net(lan(5, 0.02, seed));
    CHECK(net.bases_agree());
    CHECK(net.at(0).base_known().current().size() == 5);
    net.kill(4);
    net.run_for(seconds(8));
    CHECK(net.at(0).base_known().current().size() == 5);
    const auto smaller = [&] { return net.bases_agree() && net.at(0).base_known().current().size() == 4; };
    CHECK(net.run_till(seconds(10), milliseconds(100), smaller));
    const int fresh = net.start(0);
    net.run_for(seconds(2));
    CHECK(net.at(fresh).base_known().current().size() == 4); // adopted: a joiner is not in it
    net.at(fresh).set_state(member_state::active, net.now());
    CHECK(net.run_till(seconds(2), milliseconds(10), [&] { return net.bases_agree() && net.at(0).base_known().current().size() == 5; }));
  }
}

TEST_CASE("base, simulated: of a split only the side with more than half sets it, and healing makes it whole again") {
  swim_net net(lan(5, 0, 3));
  net.cut(numbers(0, 2), numbers(2, 5), path::closed, path::closed);
  net.run_for(seconds(20));
  CHECK(net.at(0).base_known().current().size() == 5);
  CHECK_FALSE(net.at(0).base_known().majority());
  CHECK(net.at(2).base_known().current().size() == 3);
  net.heal();
  CHECK(net.run_till(seconds(5), milliseconds(10), [&] { return net.bases_agree() && net.at(0).base_known().current().size() == 5; }));
}

// §10, 9: the empty node hears one message, one way, and its speaker is gone.
TEST_CASE("scenario 9: an empty node that is cut off after one message has no base, and makes none") {
  swim_net net(lan(3, 0, 9));
  const int fresh = net.start(0);
  net.run_for(std::chrono::microseconds(200)); // the question is on its way
  net.cut({fresh}, numbers(0, 3), path::closed, path::closed);
  net.run_for(seconds(60));
  CHECK(net.at(fresh).base_known().current().epoch == 0);
  CHECK_FALSE(net.at(fresh).base_known().isolated());
  net.heal();
  CHECK(net.run_till(seconds(5), milliseconds(10), [&] { return net.bases_agree(); }));
  CHECK(net.at(fresh).base_known().current().size() == 3);
}

// §10, 10: the joiner must know of all who may hold something, though only one of them speaks to it.
TEST_CASE("scenario 10: a joiner that reaches one node alone adopts the whole base from it") {
  swim_net net(lan(5, 0, 10));
  const int fresh = net.start(4);
  net.cut({fresh}, numbers(0, 4), path::closed, path::closed);
  net.run_for(seconds(3));
  const base& known = net.at(fresh).base_known().current();
  for (int i = 0; i < 5; ++i) CHECK(known.contains(net.id_of(i)));
  CHECK_FALSE(known.contains(net.id_of(fresh)));
}

// §10, 13: two nodes: cut, both act alone, half heal, cut again.
TEST_CASE("scenario 13: a base of two stays two through cut, half healing and another cut") {
  swim_net net(lan(2, 0, 13));
  const base both = net.at(0).base_known().current();
  REQUIRE(both.size() == 2);
  net.cut({0}, {1}, path::closed, path::closed);
  net.run_for(seconds(30));
  net.cut({0}, {1}, path::open, path::closed);
  net.run_for(seconds(30));
  net.cut({0}, {1}, path::closed, path::closed);
  net.run_for(seconds(30));
  for (const int n : {0, 1}) {
    CHECK(net.at(n).base_known().current().members == both.members);
    CHECK_FALSE(net.at(n).base_known().isolated()); // of two each goes on
  }
}

// §10, 20: at each death that it finds it "has a majority" of who is left.
TEST_CASE("scenario 20: a node that is cut off finds death after death, and shrinks nothing") {
  for (const int n : {3, 12, 40, 300}) {
    swim_net net(lan(n, 0, static_cast<std::uint64_t>(n)));
    const auto size = static_cast<std::size_t>(n);
    REQUIRE(net.at(0).base_known().current().size() == size);
    net.cut({0}, numbers(1, n), path::closed, path::closed);
    for (int s = 0; s < 60; ++s) {
      net.run_for(seconds(1));
      REQUIRE(net.at(0).base_known().current().size() == size);
    }
    CHECK(net.at(0).base_known().isolated());
    CHECK(net.at(1).base_known().current().size() == size - 1); // the others go on without it
  }
}

TEST_CASE("base, simulated: everything off, and started again, it is the one on the disks") {
  swim_net net(lan(4, 0, 21));
  const base before = net.at(0).base_known().current();
  for (int i = 0; i < 4; ++i) net.kill(i);
  net.run_for(seconds(5));
  for (int i = 0; i < 3; ++i) net.restart(i, (i + 1) % 3);
  net.run_for(seconds(20));
  for (int i = 0; i < 3; ++i) {
    CHECK(net.at(i).base_known().current() == before);
    CHECK(net.at(i).base_known().majority()); // so one of them may begin
  }
  net.kill(2);
  net.run_for(seconds(5));
  CHECK_FALSE(net.at(0).base_known().majority());
}
