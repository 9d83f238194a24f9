#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

#include <chrono>

using namespace skald;
using namespace skald::dht;

TEST_CASE("store: thousands of rows put at once are committed in groups and held by three nodes") {
  test::cluster c;
  c.start({"", "", ""});
  for (auto& n : c.nodes) n->disk.commits = 0;
  constexpr int rows = 20'000;
  int done = 0;
  const auto began = std::chrono::steady_clock::now(); // for the message only: nothing is timed here
  for (int i = 0; i < rows; ++i)
    c.at(0).put(table::subscribers, key_of_aor("sip:bulk" + std::to_string(i) + "@example.com"),
                {{"", std::string(100, 'h'), 0, false}}, [&](write_result r) { done += r.outcome.has_value(); });
  CHECK(c.run_until([&] { return done == rows; }, seconds(2)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  MESSAGE("rows a second, all three nodes on one core: " << static_cast<int>(rows / took.count()));
  c.run(milliseconds(50));
  for (auto& n : c.nodes) {
    CHECK(n->disk.rows.size() == rows);
    CHECK(n->disk.commits < rows / 20);
    CHECK(n->store->stats().copying == 0);
  }
}
