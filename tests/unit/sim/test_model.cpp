// The judge of the simulator: what counts as lost with those who held it.
#include "dht/ring/ring.hpp"
#include "tests/sim/model.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sim;

namespace {

constexpr mono_time start = mono_time{seconds(1000)};
const auto may_be_lost = [](const operation&) { return true; };

// One item, and the version that each operation on it was stored with.
struct one_item {
  item_id item{dht::table::bindings, dht::key_of_aor("sip:alice@example.com"), "c:phone"};
  model judge;
  dht::record stored; // by the latest operation

  op_number put(std::uint64_t hlc, std::initializer_list<int> machines) { return acknowledged(operation::kind::put, hlc, machines); }
  op_number remove(std::uint64_t hlc, std::initializer_list<int> machines) { return acknowledged(operation::kind::remove, hlc, machines); }

private:
  op_number acknowledged(operation::kind what, std::uint64_t hlc, std::initializer_list<int> machines) {
    const bool removes = what == operation::kind::remove;
    const mono_time at = start + milliseconds(static_cast<std::int64_t>(hlc));
    const op_number n = judge.begin(item, what, 0, at);
    const auto& [table, key, name] = item;
    stored = {table, key, name, removes ? std::string() : value_of(n), {hlc, 1}, 0, removes};
    for (const int m : machines) judge.held(m, stored);
    judge.end(n, operation::state::acknowledged, at + milliseconds(1));
    return n;
  }
};

} // namespace

TEST_CASE("model: a removal whose tombstones were lost is not held by an earlier removal's tombstone") {
  one_item i;
  i.put(10, {0, 1});
  i.remove(20, {0, 1, 2}); // machine 2 was listed for a while, and keeps what it had then
  const op_number put = i.put(30, {0, 1});
  const dht::record value = i.stored;
  const op_number removed = i.remove(40, {0, 1});
  for (const int m : {0, 1}) { // the last second was not on their disks
    i.judge.drop(m);
    i.judge.held(m, value);
  }
  CHECK(i.judge.note_losses(may_be_lost) == std::vector<op_number>{removed});
  CHECK(i.judge.find(removed)->lost);
  CHECK_FALSE(i.judge.find(put)->lost);
  const auto& [table, key, name] = i.item;
  CHECK_FALSE(i.judge.judge_at_rest(table, key, {value}, 0, milliseconds(5)));
}

TEST_CASE("model: a removal that one machine still has is not lost, and what it removed must not be found") {
  one_item i;
  i.put(30, {0, 1});
  const dht::record value = i.stored;
  i.remove(40, {0, 1, 2});
  for (const int m : {0, 1}) {
    i.judge.drop(m);
    i.judge.held(m, value);
  }
  CHECK(i.judge.note_losses(may_be_lost).empty());
  const auto& [table, key, name] = i.item;
  CHECK(i.judge.judge_at_rest(table, key, {value}, 0, milliseconds(5)).invariant == 2);
}

TEST_CASE("model: a later value that is held stands for a removal before it") {
  one_item i;
  i.put(10, {0});
  i.remove(20, {0});
  i.put(30, {0, 1});
  i.judge.drop(0);
  CHECK(i.judge.note_losses(may_be_lost).empty());
}
