#include "dht/swim/damping.hpp"
#include "dht/swim/local_health.hpp"
#include "dht/swim/rumour_queue.hpp"
#include "dht/swim/suspicion.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;

namespace {
constexpr mono_time start = mono_time{seconds(100)};
constexpr profile p = lan_profile();
} // namespace

TEST_CASE("suspicion: when removal is due, by accusers and by who is left to confirm (B2)") {
  struct row {
    const char* what;
    std::size_t accusers;
    standing members;
    duration wait;
  };
  const row table[] = {
      {"two nodes: nobody else could confirm", 1, {2, 1}, p.suspicion_min},
      {"three nodes, one accuser: the third has not confirmed", 1, {3, 1}, p.suspicion_max},
      {"three nodes, both accuse", 2, {3, 1}, p.suspicion_min},
      {"three nodes, two of them suspects: alone", 1, {3, 2}, p.suspicion_min},
      {"five nodes, three of them suspects: one is left to confirm", 1, {5, 3}, p.suspicion_max},
      {"five nodes, four of them suspects", 1, {5, 4}, p.suspicion_min},
      {"a hundred nodes, one accuser is more likely the broken one", 1, {100, 1}, p.suspicion_max},
      {"a hundred nodes, two accusers", 2, {100, 1}, p.suspicion_min},
      {"a hundred nodes, three accusers are no faster", 3, {100, 1}, p.suspicion_min},
  };
  for (const row& r : table) {
    CAPTURE(r.what);
    suspicion s(1, start);
    for (accuser a = 2; a <= r.accusers; ++a) CHECK(s.accuse(a));
    CHECK(s.deadline(p, r.members) == start + r.wait);
  }
}

TEST_CASE("suspicion: an accuser counts once, a fourth not at all, and a sleep of our own counts for nobody") {
  suspicion s(7, start);
  CHECK_FALSE(s.accuse(7));
  CHECK(s.accuse(8));
  CHECK(s.accuse(9));
  CHECK_FALSE(s.accuse(10));
  CHECK(s.accusers().size() == accusers_max);
  CHECK(s.accused_by(9));
  CHECK_FALSE(s.accused_by(10));
  s.postpone(seconds(3));
  CHECK(s.deadline(p, {9, 1}) == start + seconds(3) + p.suspicion_min);
}

TEST_CASE("profiles: the sums of the parameters are the promises (B2)") {
  for (const auto& [t, longest, survived, delay, spread] :
       {std::tuple{lan_profile(), milliseconds(750), milliseconds(600), milliseconds(0), milliseconds(50)},
        std::tuple{wan_profile(), milliseconds(2550), milliseconds(1850), milliseconds(300), milliseconds(150)}}) {
    CHECK(t.silence + t.probe + t.suspicion_min + delay + spread == longest);
    CHECK(t.silence - t.heartbeat + t.probe + t.suspicion_min == survived);
  }
}

TEST_CASE("local health: late ticks make patient, punctual ones make quick again, by themselves") {
  local_health h;
  CHECK(h.silence(p) == p.silence);
  for (int i = 0; i < 9; ++i) h.ticked(p.heartbeat, p);
  CHECK(h.level() == 4);
  CHECK(h.silence(p) == p.silence + 2 * p.heartbeat);
  CHECK(h.probe(p) == 3 * p.probe);
  for (int i = 0; i < 40; ++i) h.ticked(p.heartbeat / 2, p);
  CHECK(h.level() == 0);
  h.refuted_a_suspicion();
  CHECK(h.level() == 1);
}

TEST_CASE("damping: the third removal within an hour pays, each further one twice as much, up to ten minutes (B5)") {
  damping d;
  CHECK(d.removed(start) == seconds(0));
  CHECK(d.removed(start + seconds(1)) == seconds(0));
  CHECK(d.removed(start + seconds(2)) == seconds(10));
  CHECK(d.removed(start + seconds(3)) == seconds(20));
  for (int i = 0; i < 10; ++i) d.removed(start + seconds(4));
  CHECK(d.removed(start + seconds(5)) == std::chrono::minutes(10));
  CHECK(d.removed(start + std::chrono::hours(2)) == seconds(0));
}

TEST_CASE("rumours: how often each is told grows with the number of digits of the cluster's size") {
  CHECK(transmissions(p, 2) == 8);
  CHECK(transmissions(p, 9) == 8);
  CHECK(transmissions(p, 99) == 12);
  CHECK(transmissions(p, 999) == 16);
}
