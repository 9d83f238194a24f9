// A process that stands still (ring-and-membership B2, B3).
#include "tests/sim/swim_net.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::sim;

namespace {

struct outcome_of_pause {
  int removed_by = 0;  // views that dropped the paused one
  int others = 0;      // removals of anybody else
  bool full_again = false;
};

outcome_of_pause pause_one(const swim_options& o, duration length) {
  swim_net net(o);
  net.run_for(duration(static_cast<std::int64_t>(o.seed * 7919 % 100'000)));
  net.pause(1, length);
  net.run_for(length);
  outcome_of_pause out;
  out.full_again = net.run_till(seconds(10), milliseconds(10), [&] { return net.all_full(); }).has_value();
  for (const removal& r : net.removals()) (r.whom == 1 ? out.removed_by : out.others) += 1;
  return out;
}

void check_pauses(auto make_options, int nodes, int runs, std::initializer_list<int> survived_ms, std::initializer_list<int> fatal_ms) {
  for (int run = 0; run < runs; ++run) {
    for (const int length : survived_ms) {
      const auto out = pause_one(make_options(nodes, 0.0, static_cast<std::uint64_t>(run)), milliseconds(length));
      CHECK(out.removed_by == 0);
      CHECK(out.others == 0);
    }
    for (const int length : fatal_ms) {
      const auto out = pause_one(make_options(nodes, 0.0, static_cast<std::uint64_t>(run)), milliseconds(length));
      CHECK(out.removed_by == nodes - 1);
      CHECK(out.others == 0);
      CHECK(out.full_again);
    }
  }
}

} // namespace

TEST_CASE("pause on LAN: 0.2 and 0.5 s are survived, 0.8 s and more are a removal everywhere, and all agree again") {
  for (const int n : {2, 3, 10}) check_pauses(lan, n, 10, {200, 500}, {800, 1000, 3000, 10000});
  check_pauses(lan, 100, 1, {500}, {800});
}

TEST_CASE("pause on WAN: 1.5 s is survived, 2.6 s is a removal") {
  for (const int n : {3, 10}) check_pauses(wan, n, 10, {1000, 1500}, {2600, 5000});
}

TEST_CASE("pause: who wakes after its removal hears of it at once, takes a new life, and is stale until it has agreed") {
  swim_net net(lan(5, 0, 1));
  const auto life = net.at(2).life();
  net.pause(2, seconds(3));
  net.run_for(seconds(3) - milliseconds(1));
  CHECK(net.views_with(2) == 0);
  net.run_for(milliseconds(4));
  CHECK(net.at(2).life() > life);
  CHECK(net.self_removals() == 1);
  net.run_for(seconds(1));
  CHECK_FALSE(net.at(2).stale());
  CHECK(net.at(2).state() == dht::member_state::active); // it lives on: the state it had
  CHECK(net.all_full());
}

TEST_CASE("pause: what was sent before it slept confirms nothing: its view is in doubt until a peer answers it anew (§7)") {
  for (const int slept_ms : {400, 1000, 2000, 5000}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      swim_net net(lan(5, 0, seed));
      net.pause(2, milliseconds(slept_ms));
      net.run_for(milliseconds(slept_ms) - milliseconds(1));
      CHECK(net.at(2).sure_until() < net.now()); // it need not have had a turn to know
      net.run_for(seconds(1));
      CHECK(net.fresh_in_vain() == 0);
      CHECK_FALSE(net.at(2).stale());
      CHECK(net.at(2).sure_until() > net.now());
    }
  }
}

TEST_CASE("pause: the third removal within an hour comes back as joining for 10 s (B5)") {
  swim_net net(lan(5, 0, 1));
  for (int i = 0; i < 3; ++i) {
    net.pause(2, seconds(2));
    net.run_for(seconds(5));
    CHECK(net.all_full());
  }
  CHECK(net.at(2).state() == dht::member_state::joining);
  net.run_for(seconds(9));
  CHECK(net.at(2).state() == dht::member_state::active);
}

TEST_CASE("pause: the removals of a node that only waits are not counted: it is not kept waiting for minutes (decision 20)") {
  swim_net net(lan(5, 0, 1));
  const auto sleep_and_return = [&] {
    net.pause(2, seconds(2));
    net.run_for(seconds(5));
    CHECK(net.all_full());
  };
  net.at(2).set_state(dht::member_state::joining, net.now());
  for (int i = 0; i < 5; ++i) sleep_and_return();
  net.at(2).set_state(dht::member_state::active, net.now());
  CHECK(net.at(2).state() == dht::member_state::active);
  for (int i = 0; i < 3; ++i) sleep_and_return();
  CHECK(net.at(2).state() == dht::member_state::joining); // now it served, and pays
  sleep_and_return();
  net.run_for(seconds(4)); // 12 s in all: that one did not draw out its pause of 10 s
  CHECK(net.at(2).state() == dht::member_state::active);
}

TEST_CASE("pauses of 50 to 300 ms, each node every 30 s: no removal") {
  for (auto [n, minutes] : {std::pair{2, 30}, {3, 30}, {10, 20}, {60, 2}}) {
    swim_net net(lan(n, 0, 3));
    seeded_rng r(4);
    for (int s = 0; s < minutes * 60; ++s) {
      for (int i = 0; i < n; ++i)
        if (r.below(30) == 0) net.pause(i, milliseconds(50 + r.below(250)));
      net.run_for(seconds(1));
    }
    CHECK(net.removals().empty());
  }
}

TEST_CASE("pause: who wakes speaks in a new incarnation, removed or not: partitions are merged again, here and elsewhere (§4, §7)") {
  swim_net net(lan(5, 0, 1));
  const auto incarnation = [&](int by) { return net.at(by).current()->find(net.id_of(2))->incarnation; };
  const auto life = net.at(2).life();
  REQUIRE(incarnation(0) == 0);
  net.pause(2, milliseconds(350)); // longer than `silence`, and too short for a suspicion to have been refuted
  net.run_for(milliseconds(360));
  CHECK(net.at(2).life() == life);
  CHECK(incarnation(2) == 1);
  net.run_for(milliseconds(300));
  CHECK_FALSE(net.at(2).stale());
  for (int i = 0; i < 5; ++i) CHECK(incarnation(i) == 1);
}
