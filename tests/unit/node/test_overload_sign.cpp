#include "node/cluster/overload_sign.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::node;

namespace {

struct sign {
  // The level for that long, looked at each 200 ms; what was said last.
  bool at(double level, duration lasts) {
    bool said = false;
    for (const mono_time end = now + lasts; now <= end; now += milliseconds(200)) said = s.look(level, now);
    return said;
  }
  overload_sign s;
  mono_time now{};
};

} // namespace

TEST_CASE("overload: it is said after a second of at least half, not before, and within two (design §7)") {
  sign s;
  CHECK(!s.at(0.5, milliseconds(800)));
  CHECK(s.at(0.5, milliseconds(200)));
}

TEST_CASE("overload: less than half is not said, nor a moment of more") {
  sign s;
  CHECK(!s.at(0.49, seconds(60)));
  for (int i = 0; i < 20; ++i) {
    CHECK(!s.at(2, milliseconds(800)));
    CHECK(!s.at(0.3, milliseconds(0)));
  }
}

TEST_CASE("overload: it is over after thirty seconds in which nobody is turned away, without a break") {
  sign s;
  CHECK(s.at(1, seconds(2)));
  CHECK(s.at(0.1, seconds(120)));
  CHECK(s.at(0, milliseconds(29'800)));
  CHECK(s.at(0.01, milliseconds(0)));
  CHECK(s.at(0, milliseconds(29'800)));
  CHECK(!s.at(0, milliseconds(200)));
}
