// How many nodes have to hold a write (consistency.md §3 3.), counted against the base.
#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

bool acknowledged(cluster& c, const ring_key& k) {
  return c.write(c.owner_of(k), k, "phone", "v").outcome.has_value();
}

} // namespace

TEST_CASE("store: in a base of three the last node alone acknowledges nothing, in none it would (decision 14)") {
  cluster c;
  c.start({"", "", ""});
  const auto k = key_of_aor("sip:alice@example.com");
  c.set_base({0, 1, 2});
  c.kill(1);
  c.kill(2);
  c.remove(1);
  c.remove(2);
  c.run(seconds(1));
  CHECK_FALSE(acknowledged(c, k));
  CHECK_FALSE(c.at(0).stats().alone);
  c.base.members.clear();
  c.base.epoch = 0;
  c.at(0).set_base(c.base);
  CHECK(acknowledged(c, k));
}

TEST_CASE("store: in a base of three two go on, and need each other") {
  cluster c;
  c.start({"", "", ""});
  c.set_base({0, 1, 2});
  c.kill(2);
  c.remove(2);
  c.run(seconds(1));
  const auto k = key_of_aor("sip:alice@example.com");
  CHECK(acknowledged(c, k));
  c.cut(0, 1);
  CHECK_FALSE(acknowledged(c, k));
}

TEST_CASE("store: in a base of two a write waits for the other while it is alive in the view, then goes on alone, visibly") {
  cluster c;
  c.start({"", ""});
  c.set_base({0, 1});
  const auto k = c.key_owned_by(0);
  c.cut(0, 1);
  CHECK_FALSE(acknowledged(c, k));
  CHECK_FALSE(c.at(0).stats().alone);
  c.kill(1);
  c.remove(1);
  CHECK(acknowledged(c, k));
  CHECK(c.at(0).stats().alone);
}

TEST_CASE("store: three copies wanted: in a base of three two hold a write, in a base of four three") {
  cluster c;
  c.start({"", "", "", ""});
  for (std::size_t n = 0; n < 4; ++n) c.at(n).set_min_copies(3);
  const auto k = key_of_aor("sip:alice@example.com");
  const auto list = c.list_of(k);
  c.set_base({0, 1, 2, 3});
  c.cut(list[0], list[2]);
  CHECK_FALSE(acknowledged(c, k));
  c.set_base({list[0], list[1], list[2]});
  CHECK(acknowledged(c, k));
}

TEST_CASE("store: a node that waits for acks is answered when the base says that they are not needed") {
  cluster c;
  c.start({"", "", ""});
  c.set_base({0, 1, 2});
  c.kill(1);
  c.kill(2);
  c.remove(1);
  c.remove(2);
  c.run(seconds(1));
  std::optional<write_result> got;
  const auto k = key_of_aor("sip:alice@example.com");
  c.at(0).write(
      table::bindings, k,
      [](const auto&) -> std::expected<std::vector<change>, int> { return std::vector<change>{{"phone", "v", 0, false}}; },
      [&](write_result r) { got = std::move(r); });
  c.run(milliseconds(300));
  CHECK_FALSE(got);
  c.set_base({0}); // accepted by the operator
  REQUIRE(got);
  CHECK(got->outcome.has_value());
}

TEST_CASE("store: an owner that doubts its view writes nothing and says nothing firm, until a peer has confirmed it (§7, paused)") {
  cluster c;
  c.start({"", "", ""});
  c.set_base({0, 1, 2});
  const auto k = c.key_owned_by(0);
  REQUIRE(acknowledged(c, k));
  c.at(0).sure_until({});
  const auto refused = c.write(0, k, "phone", "w");
  REQUIRE_FALSE(refused.outcome.has_value());
  CHECK(refused.outcome.error() == write_error::not_active);
  CHECK_FALSE(c.at(0).answers_for(k));
  const auto doubtful = c.fetch(0, k);
  CHECK_FALSE(doubtful.firm);
  CHECK(doubtful.records.size() == 1);
  CHECK(c.fetch(1, k).firm); // the others know
  c.at(0).sure_until(mono_time::max());
  CHECK(c.fetch(0, k).firm);
  CHECK(acknowledged(c, k));
}
