#include "node/cluster/role_choice.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::node;
using dht::role, dht::role_set, dht::member_state;

namespace {

struct one {
  std::uint8_t number;
  std::vector<role> holds;
  member_state state = member_state::active;
};

dht::view seen_by(std::uint8_t self, const std::vector<one>& members) {
  dht::view v;
  for (const one& o : members) {
    dht::member m;
    m.id.bytes.fill(o.number);
    m.state = o.state;
    m.body.version = 1;
    for (const role r : o.holds) m.body.roles.add(r);
    v.members.push_back(m);
  }
  v.self.bytes.fill(self);
  return v;
}

role_set set_of(std::initializer_list<role> roles) {
  role_set out;
  for (const role r : roles) out.add(r);
  return out;
}

const role_set everything{0xfff}, nothing{};
constexpr mono_time start = mono_time{seconds(50)};

} // namespace

TEST_CASE("roles: minimums are read as they are written, and nothing else") {
  const auto read = read_role_minimums(role_minimums_default);
  REQUIRE(read.has_value());
  CHECK(read->at(role::proxy) == 2);
  CHECK(read->at(role::registrar) == 3);
  CHECK(read_role_minimums("")->empty());
  for (const char* bad : {"proxy", "proxy=", "proxy=x", "proxy=-1", "proxy=65", "prox=1", "proxy=1,proxy=2", "proxy=1,,dns=1", "proxy=1 "}) {
    CAPTURE(bad);
    CHECK_FALSE(read_role_minimums(bad).has_value());
  }
}

TEST_CASE("roles: one that too few hold is claimed after a while, in turn, by those who may") {
  const role_minimums two{{role::proxy, 2}};
  const std::vector<one> cluster{{1, {role::proxy}}, {2, {}}, {3, {}}};
  role_choice second, third;
  CHECK(second.more(seen_by(2, cluster), everything, nothing, two, start) == nothing);
  CHECK(third.more(seen_by(3, cluster), everything, nothing, two, start) == nothing);
  CHECK(second.more(seen_by(2, cluster), everything, nothing, two, start + seconds(2)) == set_of({role::proxy}));
  CHECK(third.more(seen_by(3, cluster), everything, nothing, two, start + seconds(2)) == nothing); // its turn is later
  const std::vector<one> enough{{1, {role::proxy}}, {2, {role::proxy}}, {3, {}}};
  CHECK(third.more(seen_by(3, enough), everything, nothing, two, start + seconds(9)) == nothing);
  // One of them dies: what was missing once does not count any more, and the dead and the draining hold nothing.
  const std::vector<one> gone{{1, {role::proxy}, member_state::dead}, {2, {role::proxy}}, {3, {}}};
  CHECK(third.more(seen_by(3, gone), everything, nothing, two, start + seconds(10)) == nothing);
  CHECK(third.more(seen_by(3, gone), everything, nothing, two, start + seconds(12)) == set_of({role::proxy})); // 2 holds it: nobody is before
}

TEST_CASE("roles: who may not hold one leaves its turn to the next") {
  const role_minimums one_dns{{role::dns, 1}};
  const std::vector<one> cluster{{1, {}}, {2, {}}};
  role_choice first, second;
  first.more(seen_by(1, cluster), set_of({role::proxy}), nothing, one_dns, start);
  second.more(seen_by(2, cluster), everything, nothing, one_dns, start);
  CHECK(first.more(seen_by(1, cluster), set_of({role::proxy}), nothing, one_dns, start + seconds(60)) == nothing);
  CHECK(second.more(seen_by(2, cluster), everything, nothing, one_dns, start + milliseconds(2900)) == nothing);
  CHECK(second.more(seen_by(2, cluster), everything, nothing, one_dns, start + seconds(3)) == set_of({role::dns}));
}
