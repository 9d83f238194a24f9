// Which of two processes with one bundle goes on (consistency.md §7, decision 24).
#include "node/cluster/twin_claim.hpp"

#include <doctest/doctest.h>

#include <utility>

using namespace skald::node;

TEST_CASE("twins: a claim survives its encoding, and one without a body's version is read") {
  const twin_claim sent{true, 1'700'000'000'123, ~std::uint64_t{0}, 1'700'000'000'456};
  const auto read = read_twin_claim(sent.encode());
  REQUIRE(read.has_value());
  CHECK(read->served);
  CHECK(read->born == sent.born);
  CHECK(read->nonce == sent.nonce);
  CHECK(read->version == sent.version);
  CHECK(!read_twin_claim(""));
  CHECK(!read_twin_claim("-")); // what a process says that has nothing to say
}

TEST_CASE("twins: who has served stays, then the older, then the lower number; both come to the same end") {
  const twin_claim served_late{true, 20, 5, 0}, joins_early{false, 10, 5, 0}, joins_late{false, 20, 5, 0}, lower{false, 20, 4, 0};
  for (const auto& [stays_on, stops] : {std::pair{served_late, joins_early}, std::pair{joins_early, joins_late}, std::pair{lower, joins_late}}) {
    CHECK(stays(stays_on, stops));
    CHECK(!stays(stops, stays_on));
  }
}

TEST_CASE("twins: one that says nothing of itself is outlived by who has served, and by nobody else") {
  CHECK(stays({true, 20, 5, 0}, std::nullopt));
  CHECK(!stays({false, 10, 5, 0}, std::nullopt));
}
