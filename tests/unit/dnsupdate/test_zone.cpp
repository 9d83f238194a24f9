#include "dns_fixture.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dnsupdate;
using dht::member_state;
using strings = std::vector<std::string>;

namespace {

std::vector<record> wanted(const dht::view& v, bool tls = false, const strings& dead = {}) {
  return wanted_records({v, domain, tls, dead});
}

} // namespace

TEST_CASE("zone: NAPTR prefers TCP before UDP, and TLS first once phones see a public certificate (RFC 3263 §4.1)") {
  const auto v = view_of({node("a", 1)});
  CHECK(data_of(wanted(v), domain, rr_type::naptr) ==
        strings{R"(10 10 "s" "SIP+D2T" "" _sip._tcp.skald.test.)", R"(10 20 "s" "SIP+D2U" "" _sip._udp.skald.test.)"});
  CHECK(data_of(wanted(v, true), domain, rr_type::naptr) ==
        strings{R"(10 10 "s" "SIPS+D2T" "" _sips._tcp.skald.test.)", R"(10 20 "s" "SIP+D2T" "" _sip._tcp.skald.test.)",
                R"(10 30 "s" "SIP+D2U" "" _sip._udp.skald.test.)"});
  for (const record& r : wanted(v, true)) CHECK(r.ttl == (r.type == rr_type::naptr ? 3600u : 15u));
}

TEST_CASE("zone: SRV has one target a node, weighted by capacity") {
  const auto v = view_of({node("a", 1), node("b", 2, member_state::active, 250)});
  CHECK(data_of(wanted(v), "_sip._udp.skald.test", rr_type::srv) == strings{"10 100 5060 a.skald.test.", "10 250 5060 b.skald.test."});
  CHECK(data_of(wanted(v), "_sips._tcp.skald.test", rr_type::srv) == strings{"10 100 5061 a.skald.test.", "10 250 5061 b.skald.test."});
  CHECK(data_of(wanted(v), "_skald._udp.skald.test", rr_type::srv) == strings{"10 100 4260 a.skald.test.", "10 250 4260 b.skald.test."});
}

TEST_CASE("zone: a node that drains or joins is out of SRV, and its name stays") {
  const auto v = view_of({node("a", 1), node("b", 2, member_state::draining), node("c", 3, member_state::joining)});
  CHECK(data_of(wanted(v), "_sip._udp.skald.test", rr_type::srv) == strings{"10 100 5060 a.skald.test."});
  CHECK(data_of(wanted(v), "b.skald.test", rr_type::a) == strings{"192.0.2.2"});
  CHECK(data_of(wanted(v), "c.skald.test", rr_type::a) == strings{"192.0.2.3"});
}

TEST_CASE("zone: an overloaded edge is out of SRV and stands in for nobody, its name stays; not if more than half are (sip.md §10)") {
  auto v = view_of({node("a", 1), node("b", 2), node("c", 3), node("d", 4)});
  v.members[1].body.overloaded = true;
  const strings others{"10 100 5060 a.skald.test.", "10 100 5060 c.skald.test.", "10 100 5060 d.skald.test."};
  CHECK(data_of(wanted(v), "_sip._udp.skald.test", rr_type::srv) == others);
  CHECK(data_of(wanted(v), "b.skald.test", rr_type::a) == strings{"192.0.2.2"});
  CHECK(data_of(wanted(v), "_sip._udp.b.skald.test", rr_type::srv).front() == "0 100 5060 b.skald.test.");
  for (const record& r : wanted(v))
    if (const auto s = read_srv(r); s && r.name.starts_with("_sip") && !r.name.ends_with(".b.skald.test")) CHECK(s->target != "b.skald.test");
  v.members[2].body.overloaded = true;
  CHECK(data_of(wanted(v), "_sip._udp.skald.test", rr_type::srv).size() == 2);
  v.members[3].body.overloaded = true;
  CHECK(data_of(wanted(v), "_sip._udp.skald.test", rr_type::srv).size() == 4);
  CHECK(data_of(wanted(v), "_skald._udp.skald.test", rr_type::srv).size() == 4);
}

TEST_CASE("zone: under a node's name it comes first, two other edges behind") {
  const auto v = view_of({node("a", 1), node("b", 2), node("c", 3), node("d", 4)});
  const auto srv = data_of(wanted(v), "_sip._tcp.b.skald.test", rr_type::srv);
  REQUIRE(srv.size() == 3);
  CHECK(srv[0] == "0 100 5060 b.skald.test.");
  CHECK(srv[1].starts_with("10 "));
  CHECK(srv[2].starts_with("10 "));
  CHECK(data_of(wanted(v), "_skald.b.skald.test", rr_type::txt) == strings{"\"skald node\""});
}

TEST_CASE("zone: a node without the role proxy has a name and no SRV of SIP") {
  auto r = node("r", 2);
  r.body.roles = {};
  const auto v = view_of({node("a", 1), r});
  CHECK(data_of(wanted(v), "_sip._udp.skald.test", rr_type::srv).size() == 1);
  CHECK(data_of(wanted(v), "_sip._udp.r.skald.test", rr_type::srv).empty());
  CHECK(data_of(wanted(v), "r.skald.test", rr_type::a).size() == 1);
}

TEST_CASE("zone: the name of a dead node points at live edges") {
  const auto records = wanted(view_of({node("a", 1), node("b", 2), node("c", 3, member_state::dead)}), false, {"c"});
  CHECK(data_of(records, "c.skald.test", rr_type::a) == strings{"192.0.2.1", "192.0.2.2"});
  CHECK(data_of(records, "_sip._udp.c.skald.test", rr_type::srv) == strings{"10 100 5060 a.skald.test.", "10 100 5060 b.skald.test."});
  CHECK(data_of(records, "_sip._udp.skald.test", rr_type::srv).size() == 2);
}

TEST_CASE("zone: without an active edge nothing is wanted, so that what is published stays") {
  CHECK(wanted(view_of({node("a", 1, member_state::draining)})).empty());
}

TEST_CASE("zone: our own server has SOA, NS and one address of the domain besides") {
  const auto v = view_of({node("a", 1), node("b", 2)});
  const auto records = own_zone_records({v, domain, false, {}}, 77);
  CHECK(data_of(records, domain, rr_type::ns) == strings{"a.skald.test.", "b.skald.test."});
  CHECK(data_of(records, domain, rr_type::a) == strings{"192.0.2.1"});
  CHECK(data_of(records, domain, rr_type::soa) == strings{"a.skald.test. hostmaster.skald.test. 77 60 15 3600 15"});
}

TEST_CASE("zone: the serial follows the view's stamp, never goes back, and moves with the content (RFC 1982)") {
  CHECK(next_serial(0, true, 0xfffffff0u) == 0xfffffff0u);
  CHECK(next_serial(5, false, 5) == 5);
  CHECK(next_serial(5, true, 3) == 6);
  CHECK(next_serial(5, false, 3) == 5);
  CHECK(next_serial(0xfffffff0u, true, 0x1'0000'0010ull) == 0x10);
}

TEST_CASE("record: names and data survive the way to the wire and back") {
  const record r = srv_record_of("_sip._udp.x.test", 15, {1, 2, 3, "A.X.test"});
  CHECK(data_text(r) == "1 2 3 a.x.test.");
  CHECK(!read_srv(record{"x", rr_type::srv, 1, std::string("\0\1\0\2\0\3\7", 7)}));
  CHECK(to_dname(std::string(64, 'a') + ".test").empty());
  CHECK(is_under("a.skald.test", "skald.test"));
  CHECK(!is_under("askald.test", "skald.test"));
}
