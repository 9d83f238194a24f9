#include "dht/ring/rings.hpp"
#include "dht/view/body_codec.hpp"
#include "dht/view/fact.hpp"
#include "tests/unit/ring/members.hpp"

using namespace skald;
using namespace skald::dht;

namespace {

node_id id_of(std::uint8_t n) {
  node_id id;
  id.bytes[0] = n;
  return id;
}

member a_member(std::uint8_t n, std::string name, member_state state, role_set roles = {}) {
  member m{.id = id_of(n), .life = 1, .state = state};
  m.body = {.version = 1, .name = std::move(name), .roles = roles};
  return m;
}

member_body full_body() {
  return {.version = 1ULL << 63, .name = "node7", .addresses = {*ip_address::parse("192.0.2.7"), *ip_address::parse("2001:db8::7")},
          .overlay_port = 1, .link_port = 2, .sip_port = 3, .sips_port = 4, .dns_port = 5, .zone = "rack 2", .capacity = 65535,
          .roles = {3}, .wire_lowest = 1, .wire_highest = 2, .software = "skald/0.1.0", .overloaded = true};
}

} // namespace

TEST_CASE("view: a stamp's text reads back, and nothing else does") {
  const view_stamp s{0x0123456789abcdef, 42};
  CHECK(s.text() == "0123456789abcdef-000000000000002a");
  CHECK(view_stamp::parse(s.text()) == s);
  for (const auto* bad : {"", "-", "0123456789abcdef", "0123456789abcdef-00000000000002a", "0123456789abcdef_000000000000002a",
                          "0123456789abcdeg-000000000000002a", "+123456789abcdef-000000000000002a"})
    CHECK_FALSE(view_stamp::parse(bad));
}

TEST_CASE("view: roles by name") {
  role_set s;
  s.add(role::registrar);
  s.add(role::proxy);
  CHECK(names(s) == std::vector<std::string_view>{"proxy", "registrar"});
  CHECK(role_from("dns") == role::dns);
  CHECK_FALSE(role_from("Proxy"));
}

TEST_CASE("view: by id, and by name without regard to case, the living first") {
  const view v{id_of(1), {a_member(1, "Alpha", member_state::dead), a_member(2, "alpha", member_state::active)}, {}};
  CHECK(v.find(id_of(2))->state == member_state::active);
  CHECK(v.find(id_of(3)) == nullptr);
  CHECK(v.find_name("ALPHA")->id == id_of(2));
  CHECK(v.find_name("beta") == nullptr);
}

TEST_CASE("fact: life, incarnation, rank and version decide in this order (consistency §6)") {
  const auto f = [](std::uint64_t life, std::uint32_t inc, member_state s, std::uint64_t version) { return fact{id_of(1), {life, inc}, s, version}; };
  const fact rising[] = {f(1, 0, member_state::joining, 9), f(1, 0, member_state::active, 1), f(1, 0, member_state::active, 2),
                         f(1, 0, member_state::draining, 1), f(1, 0, member_state::dead, 0), f(1, 0, member_state::left, 0),
                         f(1, 1, member_state::joining, 0), f(2, 0, member_state::joining, 0)};
  for (std::size_t a = 0; a < std::size(rising); ++a)
    for (std::size_t b = 0; b < std::size(rising); ++b) CHECK(stronger(rising[a], rising[b]) == (a > b));
}

TEST_CASE("body: what was encoded reads back; a shorter array takes defaults, a longer one is read as far as known") {
  CHECK(decode_body(encode_body(full_body())) == full_body());
  std::string old_version;
  pack::writer w(old_version);
  w.array(2);
  w.uint(7);
  w.str("n");
  CHECK(decode_body(old_version) == member_body{.version = 7, .name = "n"});
  std::string newer = encode_body(full_body());
  newer.replace(0, 1, std::string("\xdc\0\x10", 3)); // 16 elements
  newer += std::string("\x92\xc0\xa1x", 4);
  CHECK(decode_body(newer) == full_body());
  std::string before_overload = encode_body(full_body());
  before_overload[0] = static_cast<char>(0x9e); // 14 elements
  before_overload.pop_back();
  auto at_ease = full_body();
  at_ease.overloaded = false;
  CHECK(decode_body(before_overload) == at_ease);
}

TEST_CASE("body: every truncation and every limit is an error, never a read past the end") {
  const std::string whole = encode_body(full_body());
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK_FALSE(decode_body(whole.substr(0, n)));
  auto b = full_body();
  b.capacity = 0;
  CHECK_FALSE(decode_body(encode_body(b)));
  b = full_body();
  b.name.assign(256, 'x');
  CHECK_FALSE(decode_body(encode_body(b)));
  b = full_body();
  b.addresses.resize(17);
  CHECK_FALSE(decode_body(encode_body(b)));
}

TEST_CASE("rings: serving has the draining, target the joining, and equal roles share one table (A6)") {
  const role_set both{static_cast<std::uint16_t>(role::proxy) | static_cast<std::uint16_t>(role::registrar)};
  view v{id_of(1), {a_member(1, "a", member_state::active, both), a_member(2, "b", member_state::joining, both),
                    a_member(3, "c", member_state::draining, both), a_member(4, "d", member_state::dead, both)}, {}};
  rings all;
  CHECK(all.update(v));
  CHECK_FALSE(all.update(v));
  const auto pair = all.of(role::registrar);
  CHECK(pair.serving->members().size() == 2);
  CHECK(pair.serving->members()[1].id == id_of(3));
  CHECK(pair.target->members().size() == 2);
  CHECK(pair.target->members()[1].id == id_of(2));
  CHECK(all.of(role::proxy).serving == pair.serving);
  CHECK(all.of(role::dns).serving->members().empty());
  v.members[1].state = member_state::active;
  v.members[2].state = member_state::left;
  CHECK(all.update(v));
  CHECK(all.of(role::proxy).serving == all.of(role::proxy).target);
}
