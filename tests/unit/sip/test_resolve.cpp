#include "fake_dns.hpp"

#include "sip/resolve/resolver.hpp"
#include "sip/resolve/srv_order.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sip;
using namespace skald::sip::test;

namespace {

using lines = std::vector<std::string>;

std::string text(const target& t) {
  std::string out = std::string(param_name(t.transport)) + " " + t.remote.text();
  if (!t.tls_name.empty()) out += " " + t.tls_name;
  return out;
}

struct outcome_of {
  resolve_status status;
  lines targets;
};

outcome_of run(fake_dns& dns, std::string_view where, resolve_options options = {}, std::uint64_t seed = 1) {
  seeded_rng random(seed);
  resolver r(dns, random, std::move(options));
  const auto u = parse_uri(where);
  REQUIRE(u.has_value());
  std::optional<resolved> got;
  r.resolve(*u, [&](resolved x) {
    REQUIRE_FALSE(got.has_value());
    got = std::move(x);
  });
  for (int i = 0; i < 10 && !got; ++i)
    dns.answer_held();
  REQUIRE(got.has_value());
  CHECK(r.size() == 0);
  CHECK((got->status == resolve_status::ok) == !got->targets.empty());
  outcome_of out{got->status, {}};
  for (const target& t : got->targets)
    out.targets.push_back(text(t));
  return out;
}

// The example domain of RFC 3263 §4.1
fake_dns example() {
  fake_dns dns;
  dns.naptr("example.com", 50, 50, "SIPS+D2T", "_sips._tcp.example.com");
  dns.naptr("example.com", 90, 50, "SIP+D2T", "_sip._tcp.example.com");
  dns.naptr("example.com", 100, 50, "SIP+D2U", "_sip._udp.example.com.");
  dns.srv("_sips._tcp.example.com", 0, 1, 5061, "server1.example.com");
  dns.srv("_sip._tcp.example.com", 0, 1, 5060, "server1.example.com");
  dns.srv("_sip._tcp.example.com", 1, 2, 5070, "server2.example.com.");
  dns.srv("_sip._udp.example.com", 0, 1, 5060, "server1.example.com");
  dns.a("server1.example.com", "192.0.2.1");
  dns.a("server2.example.com", "192.0.2.2");
  dns.aaaa("server2.example.com", "2001:db8::2");
  dns.a("example.com", "192.0.2.80");
  return dns;
}

} // namespace

TEST_CASE("resolve: a numeric host is asked nothing about; UDP, for sips TLS (RFC 3263 §4.1)") {
  const std::vector<std::pair<const char*, lines>> table{
      {"sip:a@192.0.2.7", {"udp 192.0.2.7:5060"}},
      {"sip:a@192.0.2.7:5070", {"udp 192.0.2.7:5070"}},
      {"sip:a@[2001:db8::7]", {"udp [2001:db8::7]:5060"}},
      {"sip:a@192.0.2.7;transport=TCP", {"tcp 192.0.2.7:5060"}},
      {"sip:a@192.0.2.7;transport=tls", {"tls 192.0.2.7:5061 192.0.2.7"}},
      {"sips:a@192.0.2.7", {"tls 192.0.2.7:5061 192.0.2.7"}},
      {"sips:a@192.0.2.7:5071;transport=tcp", {"tls 192.0.2.7:5071 192.0.2.7"}},
      {"sip:a@example.com;maddr=192.0.2.9", {"udp 192.0.2.9:5060"}},
      {"sips:a@example.com;maddr=192.0.2.9", {"tls 192.0.2.9:5061 example.com"}},
  };
  for (const auto& [where, expected] : table) {
    CAPTURE(where);
    fake_dns dns;
    CHECK(run(dns, where).targets == expected);
    CHECK(dns.asked.empty());
  }
}

TEST_CASE("resolve: what the URI says decides what the DNS is asked (RFC 3263 §4.1, §4.2)") {
  const std::vector<std::tuple<const char*, lines, lines>> table{
      // a port: addresses only
      {"sip:a@example.com:5066", {"example.com A", "example.com AAAA"}, {"udp 192.0.2.80:5066"}},
      {"sips:a@example.com:5066", {"example.com A", "example.com AAAA"}, {"tls 192.0.2.80:5066 example.com"}},
      {"sip:a@example.com:5066;transport=tcp", {"example.com A", "example.com AAAA"}, {"tcp 192.0.2.80:5066"}},
      // a transport: SRV at once
      {"sip:a@example.com;transport=udp",
       {"_sip._udp.example.com SRV", "server1.example.com A", "server1.example.com AAAA"},
       {"udp 192.0.2.1:5060"}},
      {"sip:a@example.com;transport=tcp",
       {"_sip._tcp.example.com SRV", "server1.example.com A", "server1.example.com AAAA", "server2.example.com A",
        "server2.example.com AAAA"},
       {"tcp 192.0.2.1:5060", "tcp 192.0.2.2:5070", "tcp [2001:db8::2]:5070"}},
      {"sips:a@example.com;transport=tcp",
       {"_sips._tcp.example.com SRV", "server1.example.com A", "server1.example.com AAAA"},
       {"tls 192.0.2.1:5061 example.com"}},
      // sips: of the NAPTR only what is TLS
      {"sips:a@example.com",
       {"example.com NAPTR", "_sips._tcp.example.com SRV", "server1.example.com A", "server1.example.com AAAA"},
       {"tls 192.0.2.1:5061 example.com"}},
      // maddr stands for the host
      {"sip:a@other.org;maddr=example.com;transport=udp",
       {"_sip._udp.example.com SRV", "server1.example.com A", "server1.example.com AAAA"},
       {"udp 192.0.2.1:5060"}},
  };
  for (const auto& [where, asked, expected] : table)
    for (const bool at_once : {true, false}) {
      CAPTURE(where);
      fake_dns dns = example();
      dns.at_once = at_once;
      CHECK(run(dns, where).targets == expected);
      CHECK(dns.asked == asked);
    }
}

TEST_CASE("resolve: NAPTR orders the transports; what we do not speak is passed over") {
  fake_dns dns = example();
  CHECK(run(dns, "sip:a@example.com").targets == lines{"tls 192.0.2.1:5061 example.com", "tcp 192.0.2.1:5060",
                                                       "tcp 192.0.2.2:5070", "tcp [2001:db8::2]:5070",
                                                       "udp 192.0.2.1:5060"});
  CHECK(run(dns, "sip:a@example.com", {.transports = {transport::udp}}).targets == lines{"udp 192.0.2.1:5060"});
  dns.naptr("example.com", 1, 1, "SIPS+D2W", "_sips._ws.example.com");
  dns.naptr("example.com", 1, 1, "E2U+sip", "example.com", "u");
  CHECK(run(dns, "sip:a@example.com", {.transports = {transport::udp}}).targets == lines{"udp 192.0.2.1:5060"});
}

TEST_CASE("resolve: without NAPTR the SRV of each transport is asked, ours in order of preference") {
  fake_dns dns = example();
  dns.zone.erase({"example.com", dns_type::naptr});
  const lines expected{"udp 192.0.2.1:5060", "tcp 192.0.2.1:5060", "tcp 192.0.2.2:5070", "tcp [2001:db8::2]:5070",
                       "tls 192.0.2.1:5061 example.com"};
  CHECK(run(dns, "sip:a@example.com").targets == expected);
  CHECK(lines(dns.asked.begin(), dns.asked.begin() + 4) == lines{"example.com NAPTR", "_sip._udp.example.com SRV",
                                                                 "_sip._tcp.example.com SRV",
                                                                 "_sips._tcp.example.com SRV"});
  dns.set("example.com", dns_type::naptr, {.status = dns_status::failure});
  CHECK(run(dns, "sip:a@example.com").targets == expected);
  dns.asked.clear();
  CHECK(run(dns, "sips:a@example.com").targets == lines{"tls 192.0.2.1:5061 example.com"});
  CHECK(dns.asked[1] == "_sips._tcp.example.com SRV");
}

TEST_CASE("resolve: without SRV the name's own addresses are taken, at the default port") {
  fake_dns dns;
  dns.a("host.example.com", "192.0.2.5");
  dns.aaaa("host.example.com", "2001:db8::5");
  CHECK(run(dns, "sip:a@host.example.com").targets == lines{"udp 192.0.2.5:5060", "udp [2001:db8::5]:5060"});
  CHECK(run(dns, "sips:a@host.example.com").targets ==
        lines{"tls 192.0.2.5:5061 host.example.com", "tls [2001:db8::5]:5061 host.example.com"});
  CHECK(run(dns, "sip:a@host.example.com.;transport=tcp").targets ==
        lines{"tcp 192.0.2.5:5060", "tcp [2001:db8::5]:5060"});
  CHECK(run(dns, "sip:a@host.example.com", {.families = {ip_family::v6, ip_family::v4}}).targets ==
        lines{"udp [2001:db8::5]:5060", "udp 192.0.2.5:5060"});
  CHECK(run(dns, "sip:a@host.example.com", {.families = {ip_family::v4}}).targets == lines{"udp 192.0.2.5:5060"});
}

TEST_CASE("resolve: what cannot be spoken, is not there, or could not be asked, is told apart") {
  fake_dns dns = example();
  for (const auto* where : {"tel:+123", "mailto:a@example.com", "sip:a@example.com;transport=sctp",
                            "sips:a@example.com;transport=udp", "sip:a@192.0.2.1;transport=ws"})
    CHECK(run(dns, where).status == resolve_status::unsupported);
  CHECK(run(dns, "sips:a@192.0.2.1", {.transports = {transport::udp, transport::tcp}}).status ==
        resolve_status::unsupported);
  CHECK(run(dns, "sip:a@[::1]", {.families = {ip_family::v4}}).status == resolve_status::not_found);
  CHECK(dns.asked.empty());
  CHECK(run(dns, "sip:a@nowhere.example.org").status == resolve_status::not_found);
  CHECK(run(dns, "sip:a@" + std::string(60, 'a') + "." + std::string(60, 'b') + "." + std::string(60, 'c') + "." +
                     std::string(60, 'd') + "." + std::string(60, 'e'))
            .status == resolve_status::not_found);
  dns.otherwise.status = dns_status::failure;
  dns.asked.clear();
  CHECK(run(dns, "sip:a@nowhere.example.org").status == resolve_status::failed);
  CHECK(dns.asked.size() == 4); // NAPTR and three SRV: then the DNS is taken for dead
}

TEST_CASE("resolve: a target of '.' means that there is no such service (RFC 2782)") {
  fake_dns dns;
  dns.a("example.com", "192.0.2.80");
  dns.srv("_sip._udp.example.com", 0, 0, 0, ".");
  CHECK(run(dns, "sip:a@example.com;transport=udp").status == resolve_status::not_found);
  CHECK(run(dns, "sip:a@example.com").status == resolve_status::not_found);
  dns.srv("_sip._tcp.example.com", 0, 0, 5060, "example.com");
  CHECK(run(dns, "sip:a@example.com").targets == lines{"tcp 192.0.2.80:5060"});
}

TEST_CASE("resolve: an SRV target without addresses is passed over, a numeric one is taken, doubles go") {
  fake_dns dns;
  dns.srv("_sip._udp.example.com", 0, 0, 5060, "gone.example.com");
  dns.srv("_sip._udp.example.com", 1, 0, 5060, "192.0.2.4");
  dns.srv("_sip._udp.example.com", 2, 0, 5060, "192.0.2.4");
  CHECK(run(dns, "sip:a@example.com;transport=udp").targets == lines{"udp 192.0.2.4:5060"});
}

TEST_CASE("resolve: a domain with a thousand records costs bounded questions and targets") {
  fake_dns dns;
  for (int i = 0; i < 1000; ++i) {
    const std::string n = "h" + std::to_string(i) + ".example.com";
    dns.srv("_sip._udp.example.com", static_cast<std::uint16_t>(i), 0, 5060, n);
    dns.naptr("example.com", 1, 1, "SIP+D2U", "_sip._udp.example.com");
    for (int j = 1; j < 200; ++j)
      dns.a(n, "192.0.2." + std::to_string(j));
  }
  CHECK(run(dns, "sip:a@example.com").targets.size() == resolve_targets_max);
  CHECK(dns.asked.size() <= resolve_queries_max);
}

TEST_CASE("resolver: gone while it waits for the DNS, it calls nobody") {
  fake_dns dns = example();
  dns.at_once = false;
  bool called = false;
  {
    seeded_rng random(1);
    resolver r(dns, random);
    r.resolve(*parse_uri("sip:a@example.com"), [&](resolved) { called = true; });
    CHECK(r.size() == 1);
  }
  dns.answer_held();
  CHECK(dns.held.empty());
  CHECK_FALSE(called);
}

TEST_CASE("srv order: priorities are kept, weights decide how often one comes first, 0 seldom (RFC 2782)") {
  seeded_rng random(7);
  std::map<std::string, int> first;
  for (int i = 0; i < 10'000; ++i) {
    const auto order =
        order_srv({{10, 0, 1, "last"}, {0, 60, 1, "heavy"}, {0, 40, 1, "light"}, {0, 0, 1, "zero"}}, random);
    REQUIRE(order.size() == 4);
    CHECK(order[3].target == "last");
    ++first[order[0].target];
  }
  CHECK(first["heavy"] == doctest::Approx(6000).epsilon(0.05));
  CHECK(first["light"] == doctest::Approx(4000).epsilon(0.05));
  CHECK(first["zero"] > 30);
  CHECK(first["zero"] < 300);
}

TEST_CASE("srv order: nothing but zero weights, one record, none") {
  seeded_rng random(7);
  CHECK(order_srv({}, random).empty());
  CHECK(order_srv({{0, 0, 1, "a"}}, random).size() == 1);
  CHECK(order_srv({{0, 0, 1, "a"}, {0, 0, 1, "b"}, {0, 65535, 1, "."}}, random).size() == 2);
  CHECK(order_srv(std::vector<srv_record>(500, {0, 65535, 1, "a"}), random).size() == srv_records_max);
}
