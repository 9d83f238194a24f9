#include "dht/ring/ring.hpp"
#include "node/dns/zone_keeper.hpp"
#include "tests/unit/dnsupdate/dns_fixture.hpp"
#include "tests/unit/dnsupdate/names_fixture.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::node;
namespace du = skald::dnsupdate;
using dht::member_state;

namespace {

struct no_dns final : sip::dns_port {
  void query(std::string, sip::dns_type, callback done) override { done({}); }
};

// The owner of the zone's key among the members that serve, with a server for its updates.
struct rig {
  roles::facts_ptr facts(std::vector<dht::member> members, std::size_t base = 0) {
    auto f = std::make_shared<roles::cluster_facts>();
    dht::view v = du::view_of(std::move(members));
    f->registrars = dht::ring::build(dht::serving_members(v, dht::role::registrar), nullptr);
    v.self = *f->registrars->owner(du::zone_key(du::domain));
    dht::base b;
    for (std::size_t i = 0; i < base; ++i) b.members.push_back(du::node("x", static_cast<int>(i + 1)).id);
    f->base = std::make_shared<const dht::base>(std::move(b));
    f->view = std::make_shared<const dht::view>(std::move(v));
    auto s = roles::read_settings(du::domain, {{"dns.server", "192.0.2.53:53"}});
    f->config = std::make_shared<const roles::settings>(std::move(s));
    f->serving = true;
    return f;
  }

  void run(duration d) {
    const mono_time end = clock.now() + d;
    server.serve();
    while (const auto next = timers.next_deadline()) {
      if (*next > end) break;
      clock.advance(std::max(duration{}, *next - clock.now()));
      timers.run_due(clock.now());
      server.serve();
    }
    clock.advance(end - clock.now());
  }

  bool has_address_of(const std::string& host) const { return !du::data_of(server.zone, host, du::rr_type::a).empty(); }

  manual_clock clock;
  seeded_rng random{7};
  scheduler timers;
  du::fake_server server{random};
  no_dns client;
  du::names_store store;
  zone_keeper keeper{server, timers, clock, random, client, [this]() -> dht::store_api& { return store; }, [](bool) {}};
};

} // namespace

TEST_CASE("zone keeper: it publishes when the names of the dead are known, and with them (sip.md §10)") {
  rig r;
  r.store.entries["dead.gone"] = std::to_string(r.store.time - 1000);
  r.store.slow = true;
  r.keeper.on_facts(r.facts({du::node("a", 1), du::node("b", 2)}), false);
  r.run(seconds(1));
  CHECK(!r.keeper.publishing());
  r.store.answer_all();
  CHECK(r.keeper.publishing());
  r.run(seconds(1));
  CHECK(r.server.updates == 1);
  CHECK(r.has_address_of("gone.skald.test"));
}

TEST_CASE("zone keeper: a name whose time is over is taken out of DNS, and then forgotten") {
  rig r;
  r.keeper.start();
  r.keeper.on_facts(r.facts({du::node("a", 1), du::node("b", 2), du::node("c", 3, member_state::dead)}), false);
  r.run(seconds(1));
  CHECK(r.store.kept() == std::vector<std::string>{"c"});
  CHECK(r.has_address_of("c.skald.test"));
  r.store.time += du::dead_name_time.count() + 1;
  r.keeper.on_facts(r.facts({du::node("a", 1), du::node("b", 2)}), false);
  r.run(seconds(10));
  CHECK(!r.has_address_of("c.skald.test"));
  CHECK(r.store.kept() == std::vector<std::string>{"c"});
  r.run(seconds(620));
  CHECK(r.store.kept().empty());
}

TEST_CASE("zone keeper: a publisher that starts when a name's time is over takes it out, though it never published it") {
  rig r;
  const std::vector<std::string> dead{"c"};
  r.server.zone = du::wanted_records({du::view_of({du::node("a", 1), du::node("b", 2)}), du::domain, false, dead});
  r.store.entries["dead.c"] = std::to_string(r.store.time - du::dead_name_time.count() - 1);
  REQUIRE(r.has_address_of("c.skald.test"));
  r.keeper.on_facts(r.facts({du::node("a", 1), du::node("b", 2)}), false);
  r.run(seconds(10));
  CHECK(!r.has_address_of("c.skald.test"));
  CHECK(r.has_address_of("b.skald.test"));
}

TEST_CASE("zone keeper: the smaller side of a split publishes nothing, and does not write down the other's as dead") {
  rig r;
  r.keeper.on_facts(r.facts({du::node("a", 1), du::node("b", 2), du::node("c", 3, member_state::dead), du::node("d", 4, member_state::dead),
                             du::node("e", 5, member_state::dead)}, 5), false);
  r.run(seconds(1));
  CHECK(r.store.puts == 0);
  CHECK(r.server.updates == 0);
}
