#include "dns_fixture.hpp"
#include "dnsupdate/answer.hpp"
#include "dnsupdate/setup_text.hpp"
#include "dnsupdate/split_rule.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace skald;
using namespace skald::dnsupdate;
using strings = std::vector<std::string>;

namespace {

struct served {
  seeded_rng random{3};
  name_server server{random};
  ip_address from = *ip_address::parse("198.51.100.7");

  explicit served(int nodes = 2, bool serving = true) {
    std::vector<dht::member> members;
    for (int i = 1; i <= nodes; ++i) members.push_back(node("n" + std::to_string(i), i));
    const auto v = view_of(std::move(members));
    server.set_zone(domain, own_zone_records({v, domain, false, {}}, 9), serving);
  }

  response ask(std::string_view name, rr_type type, bool tcp = false) {
    const request q = make_query(77, name, type);
    const auto got = read_response(server.answer(q.wire, from, tcp, mono_time{}), q, {});
    REQUIRE(got.has_value());
    return *got;
  }
};

} // namespace

TEST_CASE("name server: answers with authority, names in any case") {
  served s;
  const response r = s.ask("_SIP._udp.Skald.TEST", rr_type::srv);
  CHECK(r.authoritative);
  CHECK(r.code == 0);
  CHECK(data_of(r.answer, "_sip._udp.skald.test", rr_type::srv).size() == 2);
}

TEST_CASE("name server: SRV brings the addresses of its targets along (RFC 2782)") {
  served s;
  const request q = make_query(1, "_sip._udp.skald.test", rr_type::srv);
  const std::string wire = s.server.answer(q.wire, s.from, false, mono_time{});
  CHECK(static_cast<int>(wire[11]) == 3); // two A and OPT
}

TEST_CASE("name server: no such name and no such type come with the SOA (RFC 2308 §3)") {
  served s;
  const response missing = s.ask("nobody.skald.test", rr_type::a);
  CHECK(missing.code == 3);
  REQUIRE(missing.authority.size() == 1);
  CHECK(missing.authority[0].type == rr_type::soa);
  const response empty = s.ask("n1.skald.test", rr_type::aaaa);
  CHECK(empty.code == 0);
  CHECK(empty.answer.empty());
  CHECK(empty.authority.size() == 1);
  CHECK(s.ask("_udp.skald.test", rr_type::a).code == 0); // RFC 8020: something stands below it
}

TEST_CASE("name server: outside of its zone it refuses") {
  served s;
  CHECK(s.ask("example.org", rr_type::a).code == 5);
  CHECK(s.ask("test", rr_type::soa).code == 5);
}

TEST_CASE("name server: without an active edge it says SERVFAIL, so that another server is asked") {
  served s(2, false);
  CHECK(s.ask("n1.skald.test", rr_type::a).code == 2);
}

TEST_CASE("name server: what does not fit is truncated, and whole over TCP") {
  served s(60);
  const response udp = s.ask("_sip._udp.skald.test", rr_type::srv);
  CHECK(udp.truncated);
  const response tcp = s.ask("_sip._udp.skald.test", rr_type::srv, true);
  CHECK(!tcp.truncated);
  CHECK(tcp.answer.size() == 60);
}

TEST_CASE("name server: without EDNS at most 512 bytes and no OPT come back (RFC 6891 §7)") {
  served s(20);
  std::string plain = make_query(5, "_sip._udp.skald.test", rr_type::srv).wire;
  plain.resize(plain.size() - 11);
  plain[11] = 0;
  const std::string wire = s.server.answer(plain, s.from, false, mono_time{});
  CHECK(wire.size() <= 512);
  CHECK((wire[2] & 2) != 0);
}

TEST_CASE("name server: the order turns") {
  served s(5);
  std::set<std::string> first;
  for (int i = 0; i < 50; ++i) first.insert(data_text(s.ask("_sip._udp.skald.test", rr_type::srv).answer.at(0)));
  CHECK(first.size() == 5);
}

TEST_CASE("name server: a source over its limit gets every second answer, truncated, and TCP works") {
  served s;
  const request q = make_query(5, "skald.test", rr_type::naptr);
  int whole = 0, cut = 0, dropped = 0;
  for (int i = 0; i < 600; ++i) {
    const std::string a = s.server.answer(q.wire, s.from, false, mono_time{});
    if (a.empty()) ++dropped;
    else if ((a[2] & 2) != 0) ++cut;
    else ++whole;
  }
  CHECK(whole == 400);
  CHECK(cut == 100);
  CHECK(dropped == 100);
  CHECK(s.ask("skald.test", rr_type::naptr, true).answer.size() == 2);
  CHECK(!s.server.answer(q.wire, *ip_address::parse("198.51.100.8"), false, mono_time{}).empty());
}

TEST_CASE("name server: the table of sources is bounded") {
  answer_limit limit;
  ip_address a = *ip_address::parse("10.0.0.0");
  for (int i = 0; i < 20'000; ++i) {
    a.bytes[2] = static_cast<std::uint8_t>(i >> 8);
    a.bytes[3] = static_cast<std::uint8_t>(i);
    limit.take(a, mono_time{});
  }
  CHECK(limit.size() == sources_max);
  CHECK(limit.take(*ip_address::parse("192.0.2.1"), mono_time{} + seconds(3)));
}

TEST_CASE("name server: answers, garbage and foreign operations get no data") {
  served s;
  std::string q = make_query(5, domain, rr_type::soa).wire;
  CHECK(s.server.answer("short", s.from, false, mono_time{}).empty());
  std::string answer = q;
  answer[2] = static_cast<char>(answer[2] | 0x80);
  CHECK(s.server.answer(answer, s.from, false, mono_time{}).empty());
  std::string notify = q;
  notify[2] = 0x20;
  const std::string a = s.server.answer(notify, s.from, false, mono_time{});
  REQUIRE(a.size() >= 12);
  CHECK((a[3] & 0xf) == 4);
  const std::string cut = s.server.answer(std::string_view(q).substr(0, 20), s.from, false, mono_time{});
  REQUIRE(cut.size() >= 12);
  CHECK((cut[3] & 0xf) == 1);
}

TEST_CASE("answers of the embedded server are what the resolver expects of any server") {
  served s;
  const request q = make_query(5, "_sip._udp.skald.test", rr_type::srv);
  const auto parsed = parse_answer(s.server.answer(q.wire, s.from, false, mono_time{}), "_sip._udp.skald.test", sip::dns_type::srv);
  CHECK(parsed.status == sip::dns_status::ok);
  CHECK(parsed.srv.size() == 2);
  CHECK(parsed.ttl == seconds(15));
  const request n = make_query(5, "gone.skald.test", rr_type::a);
  const auto none = parse_answer(s.server.answer(n.wire, s.from, false, mono_time{}), "gone.skald.test", sip::dns_type::a);
  CHECK(none.status == sip::dns_status::nxdomain);
  CHECK(none.ttl == seconds(15));
}

TEST_CASE("setup: the page names the delegation, other domains' lines, and three servers") {
  const auto v = view_of({node("a", 1), node("b", 2)});
  const std::string text = setup_text({v, domain, {"other.test"}, "192.0.2.53:53", "skald", "hmac-sha256", true});
  for (const char* part : {"a.skald.test.", "192.0.2.2", "other.test.", "SIPS+D2T", "update-policy", "knot.conf", "TSIG-ALLOW-DNSUPDATE"})
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("split rule: more than half of the base goes on, less is silent, and who said good-bye is not missed") {
  split_rule rule;
  const auto state = [](std::vector<dht::member_state> states, std::uint64_t stamp) {
    std::vector<dht::member> out;
    for (std::size_t i = 0; i < states.size(); ++i) out.push_back(node("n" + std::to_string(i), static_cast<int>(i + 1), states[i]));
    return view_of(std::move(out), stamp);
  };
  using enum dht::member_state;
  const auto four = state({active, active, active, active}, 1);
  dht::base base{3, {}};
  for (const dht::member& m : four.members) base.members.push_back(m.id);
  std::ranges::sort(base.members);
  rule.observe(four, base);
  rule.observe(state({active, active, active, dead}, 2), base);
  CHECK(rule.side() == split_side::more);
  rule.observe(state({active, active, dead, dead}, 3), base);
  CHECK(rule.side() == split_side::half);
  CHECK(rule.stamps() == strings{four.stamp.text()});
  rule.observe(state({active, dead, dead, dead}, 4), base);
  CHECK(rule.side() == split_side::less);
  rule.observe(state({active, left, left, dead}, 5), base);
  CHECK(rule.side() == split_side::half); // of two
  rule.observe(state({active, left, left, left}, 6), base);
  CHECK(rule.side() == split_side::more);
  rule.observe(state({active, active, active, dead}, 7), {});
  CHECK(rule.side() == split_side::more); // no base yet
}
