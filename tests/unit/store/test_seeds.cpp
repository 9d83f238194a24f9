// Random histories from a seed: writes, removals, one node at a time killed, removed, restarted or drained. At rest every
// acknowledged state is found at every node and nothing that was removed has returned.
#include "tests/unit/store/cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

using namespace skald;
using namespace skald::dht;
using test::cluster;

namespace {

// What a key's item may be at rest: the last acknowledged state, and every later one whose fate is not known.
struct truth {
  std::set<std::optional<std::string>> allowed{std::nullopt};
};

class history {
public:
  explicit history(std::uint64_t seed) : c_(seed), random_(seed * 7919 + 1) {}

  void run() {
    c_.start(std::vector<std::string>(3 + random_.below(2)));
    if (random_.chance(0.7)) { // else as before there was a base (decision 14)
      std::vector<std::size_t> all(c_.nodes.size());
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
      c_.set_base(all);
    }
    for (int step = 0; step < 60; ++step) {
      operate();
      if (random_.chance(0.12)) disturb();
      c_.run(milliseconds(random_.below(60)));
    }
    rest();
    check();
  }

private:
  ring_key key(std::size_t i) const { return key_of_aor("sip:seed" + std::to_string(i) + "@example.com"); }

  std::vector<std::size_t> living() const {
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < c_.nodes.size(); ++i)
      if (c_.nodes[i]->store) out.push_back(i);
    return out;
  }

  // Puts are not awaited: several are under way at once, but one per item, so that the truth is known.
  void operate() {
    const auto nodes = living();
    const auto at = nodes[random_.below(nodes.size())];
    const auto k = random_.below(12);
    const std::string item = "item " + std::to_string(random_.below(3));
    const auto t = random_.chance(0.3) ? table::subscribers : table::bindings;
    const auto id = std::tuple(t, k, item);
    if (!busy_.insert(id).second) return;
    std::optional<std::string> value;
    if (!random_.chance(0.3)) value = "value " + std::to_string(++serial_);
    change ch{item, value.value_or(""), value && t == table::bindings ? c_.time.wall() + 3'600'000 : 0, !value};
    auto& truth = truths_[id];
    truth.allowed.insert(value); // from now on it may win
    c_.at(at).put(t, key(k), {ch}, [this, id, value](write_result r) {
      busy_.erase(id);
      if (!r.outcome) return;
      ++acknowledged_;
      truths_[id].allowed = {value};
      // The moment of the answer: two nodes have it, or one where there is no other.
      int holders = 0;
      for (const auto n : living()) holders += c_.value(n, key(std::get<1>(id)), std::get<2>(id), std::get<0>(id)) == value;
      if (value) CHECK(holders >= std::min<int>(2, static_cast<int>(living().size())));
    });
  }

  void disturb() {
    if (down_) {
      c_.restart(*down_, random_.chance(0.7));
      down_.reset();
      rest_short();
      return;
    }
    const auto nodes = living();
    const auto n = nodes[random_.below(nodes.size())];
    if (random_.chance(0.2)) { // a restart so quick that nobody saw a death
      forget_asker(n);
      c_.restart(n, random_.chance(0.7));
      rest_short();
      return;
    }
    down_ = n;
    forget_asker(n);
    c_.kill(n);
    c_.run(milliseconds(random_.below(800)));
    c_.remove(n);
    rest_short();
  }

  // Who asked at a node that dies never hears: both outcomes stay possible. Its callbacks are gone with it.
  void forget_asker(std::size_t) { busy_.clear(); }

  void rest_short() { // one fault at a time: healed before the next
    c_.run_until([this] { return std::ranges::all_of(living(), [this](auto n) { return c_.at(n).settled(); }); });
    c_.run(milliseconds(2100)); // operations that were under way have ended
  }

  void rest() {
    if (down_) c_.restart(*down_, true);
    down_.reset();
    REQUIRE(c_.run_until([this] {
      return std::ranges::all_of(c_.nodes, [](const auto& n) {
        return n->state == member_state::active && n->store->settled() && n->store->stats().copying == 0;
      });
    }));
    c_.run(seconds(4));
  }

  void check() {
    CHECK(acknowledged_ > 10);
    for (const auto& [id, truth] : truths_) {
      const auto& [t, k, item] = id;
      std::set<std::optional<std::string>> seen;
      for (const auto n : c_.list_of(key(k))) seen.insert(c_.value(n, key(k), item, t));
      CHECK(seen.size() == 1); // copies are equal
      for (const auto& v : seen) CHECK_MESSAGE(truth.allowed.contains(v), item << " of key " << k << ": " << v.value_or("(none)"));
      for (std::size_t n = 0; n < c_.nodes.size(); ++n) {
        const auto f = c_.fetch(n, key(k), t);
        CHECK(f.firm);
        const auto at = std::ranges::find(f.records, item, &record::item);
        const auto value = at == f.records.end() ? std::nullopt : std::optional(at->value);
        CHECK(truth.allowed.contains(value));
      }
    }
    for (const auto& n : c_.nodes) {
      CHECK(n->store->stats().writing == 0);
      CHECK(n->store->stats().putting == 0);
      CHECK(n->store->stats().fetching == 0);
    }
  }

  cluster c_;
  seeded_rng random_;
  std::map<std::tuple<table, std::size_t, std::string>, truth> truths_;
  std::set<std::tuple<table, std::size_t, std::string>> busy_;
  std::optional<std::size_t> down_;
  int serial_ = 0, acknowledged_ = 0;
};

} // namespace

TEST_CASE("store: random histories lose nothing that was acknowledged and bring nothing back") {
  std::uint64_t seeds = 12;
  if (const char* wanted = std::getenv("SKALD_SEEDS")) seeds = std::strtoull(wanted, nullptr, 10);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    history(seed).run();
  }
}
