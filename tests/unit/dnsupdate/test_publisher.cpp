#include "dns_fixture.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dnsupdate;
using dht::member_state;
using strings = std::vector<std::string>;

namespace {

struct rig {
  manual_clock clock;
  seeded_rng random{7};
  scheduler timers;
  fake_server server{random};
  publisher pub{server, timers, clock, random};

  publisher_config config() const { return {*endpoint::parse("192.0.2.53:53"), {}, domain, "a"}; }

  void want(const dht::view& v, publisher_wish::side side = publisher_wish::side::more, strings earlier = {}) {
    publisher_wish w;
    w.records = wanted_records({v, domain, false, {}});
    w.stamp = v.stamp.text();
    w.standing = side;
    w.earlier_stamps = std::move(earlier);
    pub.want(std::move(w));
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

  strings srv() const { return data_of(server.zone, "_sip._udp.skald.test", rr_type::srv); }
  publish_state state() const { return pub.status().state; }
};

const dht::view two = view_of({node("a", 1), node("b", 2)}, 2);
const dht::view one = view_of({node("a", 1), node("b", 2, member_state::draining)}, 3);

} // namespace

TEST_CASE("publisher: an empty zone gets what is wanted, in one update under a guard that did not exist") {
  rig r;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(r.state() == publish_state::published);
  CHECK(r.server.updates == 1);
  CHECK(r.srv() == strings{"10 100 5060 a.skald.test.", "10 100 5060 b.skald.test."});
  CHECK(data_of(r.server.zone, "_skald.skald.test", rr_type::txt).front().starts_with("\"skald publisher\" \"by=a\""));
  for (const record& w : wanted_records({two, domain, false, {}})) CHECK(r.server.has(w));
}

TEST_CASE("publisher: a node that drains leaves SRV at once, and nothing is removed and added in one message") {
  rig r;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  r.want(one);
  r.run(milliseconds(100));
  CHECK(r.srv() == strings{"10 100 5060 a.skald.test."});
  CHECK(data_of(r.server.zone, "b.skald.test", rr_type::a).size() == 1);
  CHECK(!r.server.both_ways);
}

TEST_CASE("publisher: foreign records under our names and types stay, and are told of") {
  rig r;
  const record mx = srv_record_of("_sip._udp.skald.test", 3600, {20, 5, 5060, "pbx.elsewhere.test"});
  const record host = address_record("pbx.skald.test", 3600, *ip_address::parse("203.0.113.9"));
  const record of_host = srv_record_of("_sip._tcp.skald.test", 3600, {30, 5, 5060, "pbx.skald.test"});
  const record other = naptr_record_of(domain, 3600, {50, 50, "u", "E2U+web", "web.skald.test"});
  r.server.zone = {mx, host, of_host, other};
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  r.want(one);
  r.run(seconds(1));
  CHECK(r.state() == publish_state::published);
  for (const record& f : {mx, host, of_host, other}) CHECK(r.server.has(f));
  CHECK(r.pub.status().foreign.size() == 4); // pbx.skald.test is a target of SRV under the domain, and has no mark
}

TEST_CASE("publisher: a host name that somebody else holds is not taken, nor pointed at") {
  rig r;
  const record theirs = address_record("b.skald.test", 3600, *ip_address::parse("203.0.113.9"));
  r.server.zone = {theirs};
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(r.state() == publish_state::published);
  CHECK(r.server.has(theirs));
  CHECK(data_of(r.server.zone, "b.skald.test", rr_type::a) == strings{"203.0.113.9"});
  CHECK(r.srv() == strings{"10 100 5060 a.skald.test."});
  CHECK(r.pub.status().withheld == strings{"b.skald.test"});
}

TEST_CASE("publisher: what stands under a name whose time is over is found and taken away, though nothing points at it") {
  rig r;
  const strings dead{"c"};
  r.server.zone = wanted_records({two, domain, false, dead});
  REQUIRE(!data_of(r.server.zone, "c.skald.test", rr_type::a).empty());
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(!data_of(r.server.zone, "c.skald.test", rr_type::a).empty());
  r.pub.want({wanted_records({two, domain, false, {}}), two.stamp.text(), publisher_wish::side::more, {}, {"c.skald.test"}});
  r.run(seconds(1));
  CHECK(r.state() == publish_state::published);
  for (const record& z : r.server.zone) CHECK(!is_under(z.name, "c.skald.test"));
}

TEST_CASE("publisher: what an earlier publisher left is found by its marks and taken away") {
  rig r;
  r.server.zone = wanted_records({view_of({node("a", 1), node("old", 9)}), domain, false, {}});
  r.server.zone.push_back(guard_record(domain, {"old", "x", 41}));
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(r.srv() == strings{"10 100 5060 a.skald.test.", "10 100 5060 b.skald.test."});
  for (const record& z : r.server.zone) CHECK(z.name.find("old") == std::string::npos);
  CHECK(r.server.has(guard_record(domain, {"a", two.stamp.text(), 42})));
}

TEST_CASE("publisher: another one's update in between is seen by the guard, and the zone is read again") {
  rig r;
  r.want(two);
  r.pub.set(r.config());
  r.clock.advance(milliseconds(30));
  r.timers.run_due(r.clock.now());
  // Read, then another publisher writes before our update arrives.
  while (r.server.updates == 0 && !r.server.waiting.empty()) {
    auto o = std::move(r.server.waiting.front());
    r.server.waiting.pop_front();
    if (((static_cast<std::uint8_t>(o.wire[2]) >> 3) & 0xf) == 5) r.server.zone.push_back(guard_record(domain, {"b", "y", 7}));
    o.done(r.server.reply(o.wire, o.tcp));
  }
  CHECK(r.srv().empty());
  r.run(seconds(1));
  CHECK(r.state() == publish_state::published);
  CHECK(r.server.updates == 2);
  CHECK(r.server.has(guard_record(domain, {"a", two.stamp.text(), 8})));
}

TEST_CASE("publisher: an update whose answer is lost is found by its own counter") {
  rig r;
  r.server.lose_updates = 1;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(2));
  CHECK(r.state() == publish_state::published);
  CHECK(r.server.updates == 2); // the second try met its own guard
  CHECK(r.pub.status().updates == 1);
}

TEST_CASE("publisher: refusals are named, retried with backoff, and never the end") {
  struct row {
    std::uint16_t code;
    publish_state state;
  };
  for (const row& t : {row{2, publish_state::servfail}, row{5, publish_state::refused}, row{9, publish_state::notauth}}) {
    rig r;
    r.server.refuse_with = t.code;
    r.want(two);
    r.pub.set(r.config());
    r.run(seconds(30));
    CHECK(r.state() == t.state);
    CHECK(!r.pub.status().last_error.empty());
    CHECK(r.server.updates >= 4);
    CHECK(r.server.updates <= 7); // 1, 2, 4, 8, 16 s
    r.server.refuse_with = 0;
    r.run(seconds(60));
    CHECK(r.state() == publish_state::published);
    CHECK(r.pub.status().last_error.empty());
  }
}

TEST_CASE("publisher: a silent server is a named state too") {
  rig r;
  r.server.silent = true;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(5));
  CHECK(r.state() == publish_state::timed_out);
  r.server.silent = false;
  r.run(seconds(60));
  CHECK(r.state() == publish_state::published);
}

TEST_CASE("publisher: a server that accepts and does nothing is told from one that works") {
  rig r;
  r.server.deaf = true;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(r.state() == publish_state::not_applied);
}

TEST_CASE("publisher: who lost the zone's key sends nothing more") {
  rig r;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  r.pub.set(std::nullopt);
  r.want(one);
  r.run(seconds(120));
  CHECK(r.server.updates == 1);
  CHECK(r.state() == publish_state::off);
}

TEST_CASE("publisher: a record that somebody deletes is back within a minute") {
  rig r;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  std::erase_if(r.server.zone, [](const record& z) { return z.type == rr_type::srv; });
  r.run(seconds(61));
  CHECK(r.srv().size() == 2);
}

TEST_CASE("publisher: less than half of a split is silent") {
  rig r;
  r.want(two, publisher_wish::side::less);
  r.pub.set(r.config());
  r.run(seconds(100));
  CHECK(r.state() == publish_state::silent);
  CHECK(r.server.updates == 0);
}

TEST_CASE("publisher: with half of the members the guard is the tie-breaker") {
  rig r;
  r.server.zone = {guard_record(domain, {"b", "after", 3})};
  r.want(two, publisher_wish::side::half, {"before"});
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(r.state() == publish_state::silent);
  r.server.zone = {guard_record(domain, {"b", "before", 3})};
  r.run(seconds(61));
  CHECK(r.state() == publish_state::published);
}

TEST_CASE("publisher: a large zone goes in parts, over TCP") {
  rig r;
  std::vector<dht::member> many;
  for (int i = 1; i <= 100; ++i) many.push_back(node("node" + std::to_string(i), i));
  const auto v = view_of(std::move(many));
  r.want(v);
  r.pub.set(r.config());
  r.run(seconds(10));
  CHECK(r.state() == publish_state::published);
  CHECK(r.server.updates > 1);
  CHECK(r.server.over_tcp);
  for (const std::size_t size : r.server.sizes) CHECK(size < 18'000);
  CHECK(r.srv().size() == 100);
}

TEST_CASE("publisher: a parent zone is found by its SOA, and a long negative TTL is warned of") {
  rig r;
  r.server.apex = "test";
  r.server.minimum = 86'400;
  r.want(two);
  r.pub.set(r.config());
  r.run(seconds(1));
  CHECK(r.state() == publish_state::published);
  CHECK(r.pub.status().zone == "test");
  CHECK(!r.pub.status().warning.empty());
}
