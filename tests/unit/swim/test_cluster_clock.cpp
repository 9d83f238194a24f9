#include "dht/swim/cluster_clock.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;

namespace {

constexpr unix_ms wall = 1'700'000'000'000;
constexpr mono_time start = mono_time{seconds(5)};
unix_ms own_at(mono_time t) { return wall + std::chrono::duration_cast<milliseconds>(t - start).count(); }

node_id id_of(std::uint8_t n) {
  node_id id;
  id.bytes.fill(n);
  return id;
}

} // namespace

TEST_CASE("cluster clock: alone it is this node's own clock") {
  cluster_clock c(start, wall);
  for (int s = 1; s < 100; ++s) c.adjust(start + seconds(s), own_at(start + seconds(s)));
  CHECK(c.time(start + seconds(100)) == wall + 100'000);
}

TEST_CASE("cluster clock: it is slewed to the median by at most 500 ppm, and never runs backwards") {
  cluster_clock c(start, wall);
  c.sample(id_of(1), wall + 10'000, start);
  c.sample(id_of(2), wall + 20'000, start);
  unix_ms last = c.time(start);
  for (int s = 1; s <= 1000; ++s) {
    const mono_time t = start + seconds(s);
    c.adjust(t, own_at(t));
    CHECK(c.time(t) >= last + 999);
    CHECK(c.time(t) <= last + 1001);
    last = c.time(t);
  }
  CHECK(last - own_at(start + seconds(1000)) == doctest::Approx(499).epsilon(0.01));
  CHECK(c.deviation() == milliseconds(-10'000));
}

TEST_CASE("cluster clock: one that is an hour wrong moves nobody, and knows it") {
  cluster_clock wrong(start, wall + 3'600'000), right(start, wall);
  for (const std::uint8_t i : {1, 2, 3}) wrong.sample(id_of(i), wall, start);
  right.sample(id_of(9), wall + 3'600'000, start);
  right.sample(id_of(1), wall, start);
  for (int s = 1; s <= 10; ++s) {
    wrong.adjust(start + seconds(s), own_at(start + seconds(s)) + 3'600'000);
    right.adjust(start + seconds(s), own_at(start + seconds(s)));
  }
  CHECK(wrong.deviation() > cluster_clock::deviation_worth_telling);
  CHECK(right.time(start + seconds(10)) == wall + 10'000);
  right.forget(id_of(1));
  right.adjust(start + seconds(11), own_at(start + seconds(11)));
  CHECK(right.deviation() == milliseconds(0)); // of two the earlier one
}

TEST_CASE("cluster clock: a joiner steps to those that serve") {
  cluster_clock c(start, wall);
  c.step(wall + 5000, start + seconds(1));
  CHECK(c.time(start + seconds(1)) == wall + 5000);
}

TEST_CASE("cluster clock: where nobody serves, it begins with the median of the clocks that are known") {
  cluster_clock c(start, wall + 8'799'000);
  c.heard(id_of(1), wall, start);
  c.heard(id_of(2), wall + 40, start);
  c.begin();
  CHECK(c.time(start) == wall + 40);
  c.sample(id_of(2), wall + 60, start);
  c.heard(id_of(2), wall + 40, start); // the delay is not in it: what was measured stays
  c.begin();
  CHECK(c.time(start) == wall + 60);
}
