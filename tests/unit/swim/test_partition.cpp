// Cuts and healing, with the page's figures as limits (ring-and-membership B3, B5).
#include "tests/sim/swim_net.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using namespace skald;
using namespace skald::sim;

namespace {

std::vector<int> numbers(int from, int to) {
  std::vector<int> out(static_cast<std::size_t>(to - from));
  std::iota(out.begin(), out.end(), from);
  return out;
}

bool apart(const swim_net& net, const std::vector<int>& a, const std::vector<int>& b) {
  return std::ranges::none_of(a, [&](int x) { return std::ranges::any_of(b, [&](int y) { return net.sees(x, y) || net.sees(y, x); }); });
}

int needless_removals(const swim_net& net, int border) {
  return static_cast<int>(std::ranges::count_if(net.removals(), [&](const removal& r) { return (r.by < border) == (r.whom < border); }));
}

struct limits {
  duration shrunk, healed;
  int needless = 0; // removals inside a side
};

void cut_and_heal(const swim_options& o, int border, path back, limits l) {
  swim_net net(o);
  const auto a = numbers(0, border), b = numbers(border, o.nodes);
  net.cut(a, b, path::closed, back);
  const auto shrunk = net.run_till(seconds(20), milliseconds(10), [&] { return apart(net, a, b); });
  REQUIRE(shrunk);
  CHECK(*shrunk <= l.shrunk);
  net.run_for(seconds(10));
  CHECK(needless_removals(net, border) <= l.needless);
  net.forget_removals();
  net.heal();
  const auto healed = net.run_till(seconds(20), milliseconds(10), [&] { return net.all_full(); });
  REQUIRE(healed);
  CHECK(*healed <= l.healed);
  net.run_for(seconds(5));
  CHECK(net.removals().empty());
  CHECK(net.all_full());
  MESSAGE(o.nodes, " nodes, ", border, " cut off: shrunk after ", shrunk->count() / 1000, " ms, healed after ", healed->count() / 1000);
}

} // namespace

TEST_CASE("partition on LAN: both sides shrink, and healed all views are full again without one more removal") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    cut_and_heal(lan(2, 0, seed), 1, path::closed, {milliseconds(760), milliseconds(1500)});
    cut_and_heal(lan(3, 0, seed), 1, path::closed, {milliseconds(1500), milliseconds(1500)});
    cut_and_heal(lan(10, 0, seed), 5, path::closed, {milliseconds(760), milliseconds(500)});
    cut_and_heal(lan(10, 0.05, seed), 5, path::closed, {milliseconds(900), milliseconds(1000)});
  }
  cut_and_heal(lan(100, 0, 1), 50, path::closed, {milliseconds(900), milliseconds(700)});
  cut_and_heal(lan(100, 0, 1), 10, path::closed, {milliseconds(1800), milliseconds(700)});
  cut_and_heal(lan(100, 0, 1), 1, path::closed, {milliseconds(2800), milliseconds(1000)});
}

TEST_CASE("partition on WAN: the same, slower") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) cut_and_heal(wan(10, 0, seed), 5, path::closed, {milliseconds(2600), milliseconds(2400)});
  cut_and_heal(wan(100, 0, 1), 50, path::closed, {milliseconds(3200), milliseconds(2400)});
}

TEST_CASE("partition: cut again and again, nobody is kept waiting when it heals: it was the network (decision 26)") {
  swim_net net(lan(5, 0, 1));
  for (int i = 0; i < 6; ++i) {
    const auto a = i % 2 == 0 ? std::vector{0, 1} : std::vector{1, 2};
    const auto b = i % 2 == 0 ? std::vector{2, 3, 4} : std::vector{0, 3, 4};
    net.cut(a, b, path::closed, path::closed);
    net.run_for(seconds(8));
    net.heal();
    net.run_for(seconds(5));
    CHECK(net.all_full());
    for (int n = 0; n < 5; ++n) CHECK(net.at(n).state() == dht::member_state::active);
  }
}

TEST_CASE("partition: one node cut off again and again pays for it, the others do not (decision 26)") {
  for (const path back : {path::closed, path::open}) {
    swim_net net(lan(5, 0, 1));
    net.run_for(seconds(15)); // a base
    for (int i = 0; i < 3; ++i) {
      net.cut({0}, {1, 2, 3, 4}, path::closed, back);
      net.run_for(seconds(8));
      net.heal();
      net.run_for(seconds(5));
      CHECK(net.all_full());
      for (int n = 1; n < 5; ++n) CHECK(net.at(n).state() == dht::member_state::active);
    }
    if (back == path::closed) CHECK(net.at(0).state() == dht::member_state::joining); // it was alone all the while
  }
}

TEST_CASE("one direction lost: it becomes symmetric, with few needless removals inside a side") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) cut_and_heal(lan(10, 0, seed), 5, path::open, {milliseconds(1100), milliseconds(1000), 4});
  cut_and_heal(lan(100, 0, 1), 50, path::open, {milliseconds(1700), milliseconds(1000), 400});
  cut_and_heal(wan(10, 0, 1), 5, path::open, {milliseconds(3700), milliseconds(2400), 4});
}

TEST_CASE("one node whose datagrams are lost in one or both directions stays in while its links work") {
  for (const int n : {3, 10})
    for (const auto& [to, from] : {std::pair{path::open, path::links_only}, {path::links_only, path::open}, {path::links_only, path::links_only}}) {
      swim_net net(lan(n, 0, 7));
      net.cut({0}, numbers(1, n), from, to);
      net.run_for(seconds(60));
      CHECK(net.removals().empty());
      CHECK(net.suspicions() == 0);
    }
}

TEST_CASE("one node that nothing leaves any more is out of every view, nobody else is, and it comes back") {
  for (const int n : {3, 10})
    for (const auto& [from, to] : {std::pair{path::closed, path::open}, {path::open, path::closed}, {path::closed, path::closed}}) {
      swim_net net(lan(n, 0, 8));
      net.cut({0}, numbers(1, n), from, to);
      const auto out = net.run_till(seconds(5), milliseconds(10), [&] { return net.views_with(0) == 0; });
      REQUIRE(out);
      CHECK(*out <= milliseconds(n == 3 ? 1500 : 760));
      net.run_for(seconds(10));
      CHECK(std::ranges::none_of(net.removals(), [](const removal& r) { return r.by != 0 && r.whom != 0; }));
      net.heal();
      net.run_for(seconds(5));
      CHECK(net.all_full());
    }
}

TEST_CASE("one pair that can't talk is no reason for a suspicion; helpers answer for both") {
  swim_net net(lan(10, 0, 9));
  net.cut({0}, {1}, path::closed, path::closed);
  net.run_for(std::chrono::minutes(5));
  CHECK(net.removals().empty());
  CHECK(net.suspicions() == 0);
}

TEST_CASE("half of all that one node sends and gets is lost: it is not removed") {
  swim_net net(lan(60, 0, 10));
  net.set_loss_of(0, 0.5);
  net.run_for(std::chrono::minutes(2));
  CHECK(net.removals().empty());
}
