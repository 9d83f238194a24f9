#include "dnsupdate/dead_names.hpp"
#include "dns_fixture.hpp"
#include "names_fixture.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dnsupdate;
using dht::member_state;
using strings = std::vector<std::string>;

namespace {

constexpr milliseconds day = std::chrono::hours(24);

// A node with its memory of the dead, over a store that several may share.
struct keeper {
  explicit keeper(names_store& s) : store(s) {}

  void see(const dht::view& v, bool keeps = true, bool published = true) {
    view = v;
    names.observe(view, {keeps, published}, now);
  }
  void later(milliseconds d, bool keeps = true, bool published = true) {
    now += d;
    names.observe(view, {keeps, published}, now);
  }

  names_store& store;
  mono_time now{seconds(1000)};
  dht::view view;
  int news = 0;
  dead_names names{[this]() -> dht::store_api& { return store; }, domain, [this] { ++news; }};
};

dht::view with(member_state of_c) { return view_of({node("a", 1), node("b", 2), node("c", 3, of_c)}); }
const dht::view without = view_of({node("a", 1), node("b", 2)});

} // namespace

TEST_CASE("dead names: whoever starts after the death goes on with the name, and with its time (sip.md §10)") {
  names_store store;
  keeper a(store);
  a.see(with(member_state::dead));
  CHECK(a.names.names() == strings{"c"});
  store.time += day.count();
  keeper later(store);
  later.see(without);
  CHECK(later.names.known());
  CHECK(later.names.names() == strings{"c"});
  store.time += 6 * day.count();
  later.later(seconds(60));
  CHECK(later.names.names() == strings{"c"});
  store.time += 1;
  later.later(seconds(60));
  CHECK(later.names.names().empty());
}

TEST_CASE("dead names: a node that left keeps its name as well as one that died") {
  names_store store;
  keeper a(store);
  a.see(with(member_state::left));
  CHECK(store.kept() == strings{"c"});
}

TEST_CASE("dead names: who does not publish reads them and writes nothing") {
  names_store store;
  keeper b(store);
  b.see(with(member_state::dead), false);
  CHECK(b.names.names() == strings{"c"});
  CHECK(store.kept().empty());
  CHECK(store.puts == 0);
  b.later(seconds(5)); // the publisher has died: this one is its heir
  CHECK(store.kept() == strings{"c"});
}

TEST_CASE("dead names: a name that is alive again is dead no more, and its entry goes") {
  names_store store;
  keeper a(store);
  a.see(with(member_state::dead));
  a.see(view_of({node("a", 1), node("c", 3, member_state::dead), node("C", 4)}));
  CHECK(a.names.names().empty());
  CHECK(store.kept().empty());
}

TEST_CASE("dead names: the two sides of a split lose nothing of each other's") {
  names_store one, other;
  keeper a(one), b(other);
  a.see(view_of({node("a", 1), node("c", 3, member_state::dead), node("d", 4, member_state::dead)}));
  other.time += 5000;
  b.see(view_of({node("b", 2), node("d", 4, member_state::dead), node("e", 5, member_state::dead)}));
  const unix_ms first = one.time;
  one.merge(other);
  other.merge(one);
  keeper after(one);
  after.see(without);
  CHECK(after.names.names() == strings{"c", "d", "e"});
  CHECK(one.value("c") == std::to_string(first));
}

TEST_CASE("dead names: an entry that somebody has written meanwhile is not written over") {
  names_store store;
  store.in_doubt = true; // so the second one does not see the entry before it writes
  keeper b(store);
  b.see(without);
  for (int i = 0; i < 3; ++i) b.later(seconds(5));
  REQUIRE(b.names.known());
  store.entries["dead.c"] = std::to_string(store.time - 1000);
  b.see(with(member_state::dead));
  CHECK(store.conflicts == 1);
  CHECK(store.value("c") == std::to_string(store.time - 1000));
  store.in_doubt = false;
  b.later(seconds(5));
  CHECK(b.names.names() == strings{"c"});
  CHECK(store.conflicts == 1);
  store.time += 7 * day.count() - 999; // by the time that was written, its time is over now
  b.later(seconds(60));
  CHECK(b.names.over() == strings{"c"});
}

TEST_CASE("dead names: a later death is not taken away by who knows of an earlier one") {
  names_store store;
  keeper a(store);
  a.see(with(member_state::dead));
  store.entries["dead.c"] = std::to_string(store.time + 5000); // it came back, and died again, for another publisher
  a.see(with(member_state::active));
  CHECK(store.conflicts == 1);
  CHECK(store.kept() == strings{"c"});
}

TEST_CASE("dead names: before the cluster's are read, nothing is known; without a firm answer after three in doubt") {
  names_store store;
  store.in_doubt = true;
  keeper a(store);
  a.see(with(member_state::dead));
  CHECK(!a.names.known());
  CHECK(store.puts == 0);
  a.later(seconds(5));
  CHECK(!a.names.known());
  a.later(seconds(5));
  CHECK(a.names.known());
}

TEST_CASE("dead names: an answer in doubt takes nothing away") {
  names_store store;
  keeper a(store);
  a.see(with(member_state::dead));
  store.in_doubt = true;
  a.see(without);
  a.later(seconds(60));
  CHECK(a.names.names() == strings{"c"});
  CHECK(store.kept() == strings{"c"});
  CHECK(store.puts == 1); // nor is it written again
}

TEST_CASE("dead names: an answer that comes later is news") {
  names_store store;
  store.entries["dead.x"] = std::to_string(store.time);
  store.slow = true;
  keeper a(store);
  a.see(without);
  CHECK(!a.names.known());
  store.answer_all();
  CHECK(a.news == 1);
  a.later(seconds(1));
  CHECK(a.names.known());
  CHECK(a.names.names() == strings{"x"});
}

TEST_CASE("dead names: a node that joins claims nothing from its own sight, for its clock may be wrong") {
  names_store store;
  keeper a(store);
  a.see(view_of({node("a", 1, member_state::joining), node("b", 2), node("c", 3, member_state::dead)}));
  CHECK(a.names.names().empty());
  CHECK(!a.names.known());
  a.see(with(member_state::dead));
  CHECK(a.names.names() == strings{"c"});
}

TEST_CASE("dead names: when a name's time is over it is cleared by a publisher, and only then forgotten") {
  names_store store;
  keeper a(store);
  a.see(with(member_state::dead));
  store.time += 7 * day.count() + 1;
  a.view = without; // the view has forgotten it long ago
  a.later(seconds(5), true, false);
  CHECK(a.names.names().empty());
  CHECK(a.names.over() == strings{"c"});
  for (int i = 0; i < 20; ++i) a.later(seconds(60), true, false); // the server does not take updates
  CHECK(store.kept() == strings{"c"});
  a.later(seconds(5));
  a.later(seconds(599));
  CHECK(store.kept() == strings{"c"});
  a.later(seconds(1));
  CHECK(store.kept().empty());
  CHECK(a.names.over().empty());
}

TEST_CASE("dead names: of too many the oldest go first, and all that is kept is written in parts") {
  names_store store;
  keeper a(store);
  std::vector<dht::member> members{node("a", 1)};
  a.see(view_of(members));
  members.push_back(node("oldest", 2, member_state::dead));
  a.see(view_of(members));
  CHECK(store.kept() == strings{"oldest"});
  store.time += 1000;
  for (std::size_t i = 0; i < dead_names_max; ++i) {
    auto m = node("n" + std::to_string(i), 3, member_state::dead);
    m.id.bytes[1] = static_cast<std::uint8_t>(i >> 8), m.id.bytes[2] = static_cast<std::uint8_t>(i);
    members.push_back(std::move(m));
  }
  a.see(view_of(members));
  CHECK(a.names.names().size() == dead_names_max);
  CHECK(store.kept().size() == dead_names_written_at_once - 1); // the oldest one is gone with this
  for (int i = 0; i < 5; ++i) a.later(seconds(5));
  CHECK(store.kept().size() == dead_names_max);
  CHECK(!store.entries.contains("dead.oldest"));
}

TEST_CASE("dead names: what is no entry of ours in the table is not looked at") {
  names_store store;
  store.entries = {{"dead.", "5"}, {"dead.x", "soon"}, {"dead.y", "-5"}, {"dns.server", "192.0.2.1:53"}};
  const auto before = store.entries;
  keeper a(store);
  a.see(without);
  CHECK(a.names.names().empty());
  CHECK(store.entries == before);
}
