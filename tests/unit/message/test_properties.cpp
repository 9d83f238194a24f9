// What holds for any bytes, tried with seeded mutations of the torture messages.
#include "sip/message/message.hpp"
#include "sip/message/params.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/uri.hpp"
#include "sip/message/validate.hpp"
#include "sip/message/via.hpp"

#include "base/rng.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

using namespace skald;
using namespace skald::sip;

namespace {

std::vector<std::string> torture_messages() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(TEST_DATA "/torture"))
    if (entry.path().extension() == ".dat") paths.push_back(entry.path());
  std::ranges::sort(paths); // the seed has to meet the same files everywhere
  std::vector<std::string> out;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    out.push_back(std::move(text).str());
  }
  return out;
}

std::string mutated(std::string text, rng& random) {
  constexpr std::string_view salt = "\r\n:;,<>\"@ \t=%\\\0[]?*1z";
  for (std::uint64_t n = 1 + random.below(4); n > 0 && !text.empty(); --n) {
    const std::size_t at = random.below(text.size());
    switch (random.below(4)) {
    case 0: text[at] = salt[random.below(salt.size())]; break;
    case 1: text.insert(at, 1, salt[random.below(salt.size())]); break;
    case 2: text.erase(at, 1 + random.below(8)); break;
    default: text.insert(at, text.substr(random.below(text.size()), random.below(40))); break;
    }
  }
  return text;
}

} // namespace

TEST_CASE("properties: a valid message is written as one that parses to the same, however it came") {
  const auto seeds = torture_messages();
  seeded_rng random(1);
  int valid = 0, answered = 0;
  for (int i = 0; i < 6000; ++i) {
    const auto m = message::parse_lenient(mutated(seeds[random.below(seeds.size())], random));
    if (!m) continue;
    const auto why = validate(*m);
    if (why) {
      answered += why->answer;
      if (why->answer) REQUIRE(message::parse(make_reply(*m, why->status, why->reason, "t").serialize()));
      continue;
    }
    ++valid;
    const std::string text = m->serialize();
    const auto again = message::parse(text);
    REQUIRE(again);
    REQUIRE(again->serialize() == text);
    REQUIRE_FALSE(validate(*again));
  }
  CHECK(valid > 500);
  CHECK(answered > 500);
}

TEST_CASE("properties: taking a Via off and putting it back leaves the others as they were") {
  const auto seeds = torture_messages();
  seeded_rng random(2);
  for (int i = 0; i < 2000; ++i) {
    auto m = message::parse_lenient(mutated(seeds[random.below(seeds.size())], random));
    if (!m || validate(*m)) continue;
    const auto before = m->values(header::via);
    m->prepend(header::via, "SIP/2.0/UDP mine;branch=z9hG4bKmine");
    REQUIRE(m->values(header::via).size() == before.size() + 1);
    m->remove_first_value(header::via);
    REQUIRE(m->values(header::via) == before);
    m->remove_first_value(header::via);
    auto rest = m->values(header::via);
    REQUIRE(rest == std::vector(before.begin() + 1, before.end()));
    if (rest.empty()) continue;
    REQUIRE(stamp_top_via(*m, *endpoint::parse("203.0.113.9:4242")));
    REQUIRE(destination_of(*m)->address() == endpoint::parse("203.0.113.9:4242"));
  }
}

TEST_CASE("properties: a URI equals itself, and its canonical address is a fixed point") {
  constexpr std::string_view seeds[] = {"sip:alice;day=tuesday:pw@[2001:db8::1]:5071;transport=TCP;lr;a;a=1?s=x&p=u",
                                        "tel:+1-(555)-0100;phone-context=x", "sips:%61%3b%00@Example.org"};
  seeded_rng random(3);
  for (int i = 0; i < 6000; ++i) {
    const std::string text = mutated(std::string(seeds[random.below(3)]), random);
    const auto u = parse_uri(text);
    if (!u) continue;
    REQUIRE(equal(*u, *u));
    const auto aor = canonical_aor(*u, "example.org");
    if (!aor) continue;
    const auto back = parse_uri(*aor);
    REQUIRE(back);
    REQUIRE(canonical_aor(*back, "example.org") == aor);
  }
}

TEST_CASE("properties: copies of one message are edited on several threads") {
  message base = message::request("OPTIONS", "sip:a");
  base.append(header::subject, "base");
  std::vector<message> copies(4, base);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < copies.size(); ++t)
      threads.emplace_back([&m = copies[t], t] {
        for (int i = 0; i < 500; ++i) {
          m.set(header::subject, std::string(20, static_cast<char>('a' + t)));
          const message inner = m;
          (void)inner.serialize();
        }
      });
    for (int i = 0; i < 500; ++i) base.set(header::subject, "the original's own");
  }
  for (std::size_t t = 0; t < copies.size(); ++t)
    CHECK(copies[t].line(header::subject) == std::string(20, static_cast<char>('a' + t)));
}

TEST_CASE("properties: no text given to an edit makes a line of its own") {
  message m = message::request("OPTIONS", "sip:a\r\nX: 1");
  m.append("X-Note\r\nEvil", "a\r\nEvil: b");
  m.set(header::subject, "c\nEvil: d");
  CHECK(m.serialize().find("\nEvil") == std::string::npos);
  CHECK(m.serialize().find("\nX:") == std::string::npos);
}

TEST_CASE("via: an open bracket in a parameter is refused, so that nothing appended hides in it") {
  CHECK_FALSE(parse_via("SIP/2.0/UDP a;x=<b"));
  CHECK_FALSE(parse_via("SIP/2.0/UDP a;x=\"b"));
  CHECK(parse_via("SIP/2.0/UDP a;x=\"<b\""));
}
