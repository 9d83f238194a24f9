#include "fake_dns.hpp"

#include "sip/resolve/dns_cache.hpp"

#include <doctest/doctest.h>

#include <optional>

using namespace skald;
using namespace skald::sip;
using namespace skald::sip::test;

namespace {

struct world {
  manual_clock clk;
  fake_dns dns;
  std::optional<dns_cache> cache{std::in_place, clk, dns};

  dns_answer ask(const std::string& name, dns_type type = dns_type::a) {
    std::optional<dns_answer> got;
    cache->query(name, type, [&](dns_answer a) { got = std::move(a); });
    REQUIRE(got.has_value());
    return *got;
  }
};

} // namespace

TEST_CASE("dns cache: an answer is kept for its TTL, whatever the name's case, and each type by itself") {
  world w;
  w.dns.a("h.example.com", "192.0.2.1"); // 15 s
  CHECK(w.ask("h.example.com").addresses.size() == 1);
  w.clk.advance(seconds(10));
  CHECK(w.ask("H.Example.com").ttl == seconds(5));
  CHECK(w.dns.asked.size() == 1);
  w.ask("h.example.com", dns_type::aaaa);
  CHECK(w.dns.asked.size() == 2);
  w.clk.advance(seconds(5));
  w.ask("h.example.com");
  CHECK(w.dns.asked.size() == 3);
}

TEST_CASE("dns cache: long TTLs are cut, negative ones shorter, failures kept for a second, TTL 0 not at all") {
  world w;
  const ip_address ip = *ip_address::parse("192.0.2.1");
  w.dns.set("long", dns_type::a, {.status = dns_status::ok, .addresses = {ip}, .ttl = seconds(1'000'000)});
  w.dns.set("none", dns_type::a, {.status = dns_status::nodata, .ttl = seconds(1'000'000)});
  w.dns.set("bad", dns_type::a, {.status = dns_status::failure});
  w.dns.set("zero", dns_type::a, {.status = dns_status::ok, .addresses = {ip}, .ttl = seconds(0)});
  const auto asks_again_after = [&](const char* name, duration d) {
    w.cache->clear();
    w.ask(name);
    const std::size_t before = w.dns.asked.size();
    w.clk.advance(d);
    w.ask(name);
    return w.dns.asked.size() != before;
  };
  CHECK_FALSE(asks_again_after("long", dns_positive_ttl_max - seconds(1)));
  CHECK(asks_again_after("long", dns_positive_ttl_max));
  CHECK_FALSE(asks_again_after("none", dns_negative_ttl_max - seconds(1)));
  CHECK(asks_again_after("none", dns_negative_ttl_max));
  CHECK_FALSE(asks_again_after("bad", milliseconds(999)));
  CHECK(asks_again_after("bad", seconds(1)));
  CHECK(asks_again_after("zero", duration::zero()));
}

TEST_CASE("dns cache: who asks while the question is under way waits for the same answer") {
  world w;
  w.dns.at_once = false;
  w.dns.a("h", "192.0.2.1");
  int answered = 0;
  for (int i = 0; i < 3; ++i)
    w.cache->query("h", dns_type::a, [&](dns_answer a) { answered += static_cast<int>(a.addresses.size()); });
  CHECK(w.dns.asked.size() == 1);
  w.dns.answer_held();
  CHECK(answered == 3);
}

TEST_CASE("dns cache: an answer that comes after its end is dropped") {
  world w;
  w.dns.at_once = false;
  bool called = false;
  w.cache->query("h", dns_type::a, [&](dns_answer) { called = true; });
  w.cache.reset();
  w.dns.answer_held();
  CHECK_FALSE(called);
}

TEST_CASE("dns cache: it holds a bounded number of answers, and of callers that wait") {
  world w;
  for (std::size_t i = 0; i < dns_cache_entries_max + 100; ++i)
    w.ask("n" + std::to_string(i));
  CHECK(w.cache->size() == dns_cache_entries_max);
  const std::size_t before = w.dns.asked.size();
  w.ask("n50"); // the oldest went
  CHECK(w.dns.asked.size() == before + 1);
  for (int i = 0; i < 30'000; ++i) { // one name over and over
    w.ask("same");
    w.clk.advance(seconds(20));
  }
  CHECK(w.cache->size() <= dns_cache_entries_max);

  w.dns.at_once = false;
  std::size_t failures = 0;
  for (std::size_t i = 0; i < dns_cache_waiting_max + 5; ++i)
    w.cache->query("slow", dns_type::srv, [&](dns_answer a) { failures += a.status == dns_status::failure; });
  CHECK(failures == 5);
}
