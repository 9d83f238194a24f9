// The page's figures as limits (ring-and-membership B2, B3). One seed is one run.
#include "tests/sim/swim_net.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::sim;

namespace {

struct outcome_of_kills {
  duration worst{};
  int never = 0, others = 0;
};

// Kills `count` random nodes at one instant in each of `runs` clusters.
outcome_of_kills kill_some(auto make_options, int nodes, int count, int runs, double loss) {
  outcome_of_kills out;
  for (int run = 0; run < runs; ++run) {
    const auto seed = static_cast<std::uint64_t>(1000 * nodes + run);
    swim_net net(make_options(nodes, loss, seed));
    seeded_rng r(seed);
    net.run_for(duration(r.below(1'000'000)));
    std::vector<int> dead;
    while (static_cast<int>(dead.size()) < count) {
      const int k = static_cast<int>(r.below(static_cast<std::uint64_t>(nodes)));
      if (std::ranges::find(dead, k) == dead.end()) dead.push_back(k);
    }
    for (const int k : dead) net.kill(k);
    const auto took = net.run_till(seconds(10), milliseconds(1), [&] { return std::ranges::all_of(dead, [&](int k) { return net.views_with(k) == 0; }); });
    if (!took) ++out.never;
    else out.worst = std::max(out.worst, *took);
    for (const removal& x : net.removals()) out.others += std::ranges::find(dead, x.whom) == dead.end();
  }
  MESSAGE(nodes, " nodes, ", count, " killed, loss ", loss, ": worst ", out.worst.count() / 1000, " ms");
  return out;
}

void check_within(const outcome_of_kills& o, duration limit) {
  CHECK(o.worst <= limit);
  CHECK(o.never == 0);
  CHECK(o.others == 0);
}

} // namespace

TEST_CASE("kill on LAN: out of every view within 750 ms") {
  for (const double loss : {0.0, 0.1}) {
    for (const int n : {2, 3, 5, 10}) check_within(kill_some(lan, n, 1, 40, loss), milliseconds(760));
    check_within(kill_some(lan, 100, 1, 4, loss), milliseconds(760));
  }
}

TEST_CASE("kill on WAN: out of every view within 2550 ms") {
  for (const double loss : {0.0, 0.1}) {
    for (const int n : {2, 3, 5, 10}) check_within(kill_some(wan, n, 1, 40, loss), milliseconds(2550));
    check_within(kill_some(wan, 100, 1, 4, loss), milliseconds(2550));
  }
}

TEST_CASE("profile: changed while the cluster runs, node by node, it removes nobody and its own limits hold") {
  swim_net net(lan(5, 0.05, 77));
  net.run_for(seconds(2));
  for (int node = 0; node < 5; ++node) {
    net.set_timing(node, dht::wan_profile());
    net.run_for(milliseconds(400)); // the setting reaches one after the other
  }
  net.run_for(seconds(60));
  CHECK(net.removals().empty());
  net.kill(3);
  const auto took = net.run_till(seconds(10), milliseconds(1), [&] { return net.views_with(3) == 0; });
  REQUIRE(took);
  CHECK(*took > milliseconds(1300)); // LAN would have been done
  CHECK(*took <= milliseconds(2550));
}

TEST_CASE("several killed at once: within 1.5 s on LAN, 3.5 s on WAN") {
  check_within(kill_some(lan, 3, 2, 30, 0.02), milliseconds(1500));
  check_within(kill_some(lan, 5, 4, 30, 0.02), milliseconds(1500));
  check_within(kill_some(lan, 5, 3, 30, 0.02), milliseconds(1500));
  check_within(kill_some(lan, 99, 33, 3, 0.02), milliseconds(1500));
  check_within(kill_some(lan, 99, 50, 2, 0.02), milliseconds(1500));
  check_within(kill_some(wan, 5, 4, 30, 0.02), milliseconds(3500));
  check_within(kill_some(wan, 99, 33, 2, 0.02), milliseconds(3500));
}

TEST_CASE("a hint from the kernel: a dead process is out within 450 ms, a living one stays (B4)") {
  duration worst{};
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    swim_net net(lan(10, 0, seed));
    net.kill(3);
    for (int i = 0; i < net.size(); ++i)
      if (i != 3) net.at(i).peer_hint(net.id_of(3), net.now());
    const auto took = net.run_till(seconds(5), milliseconds(1), [&] { return net.views_with(3) == 0; });
    REQUIRE(took);
    worst = std::max(worst, *took);
    for (int i = 0; i < net.size(); ++i)
      if (i != 3) net.at(i).peer_hint(net.id_of(4), net.now());
    net.run_for(seconds(5));
    CHECK(net.views_with(4) == 8);
  }
  MESSAGE("worst ", worst.count() / 1000, " ms");
  CHECK(worst <= milliseconds(450));
}

TEST_CASE("loss of 5 and of 10 % for minutes: no removal (the hours are swim_soak's)") {
  for (const double loss : {0.05, 0.1, 0.2})
    for (const int n : {2, 3, 5, 10, 60})
      for (auto* make_options : {lan, wan}) {
        swim_net net(make_options(n, loss, static_cast<std::uint64_t>(n)));
        net.run_for(std::chrono::minutes(n > 10 ? 2 : 20));
        CHECK(net.removals().empty());
        CHECK(net.all_full());
      }
}
