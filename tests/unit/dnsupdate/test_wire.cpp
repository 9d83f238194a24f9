#include "dns_fixture.hpp"
#include "dnsupdate/knot.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dnsupdate;

namespace {

const tsig_key key{"skald", "hmac-sha256", "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ="};

// What a server does with a signed request, by libknot: the answer with that code, signed with `with`.
std::string server_answer(const request& q, std::uint8_t code, const tsig_key& with) {
  std::string wire = q.wire.substr(0, 12) + std::string();
  wire[2] = static_cast<char>(wire[2] | 0x80);
  wire[3] = static_cast<char>(code);
  for (std::size_t i = 4; i < 12; ++i) wire[i] = 0;
  knot_tsig_key_t k{};
  REQUIRE(knot_tsig_key_init(&k, with.algorithm.c_str(), with.name.c_str(), with.secret.c_str()) == KNOT_EOK);
  std::size_t size = wire.size();
  wire.resize(512);
  std::uint8_t mac[64];
  std::size_t mac_size = sizeof mac;
  REQUIRE(knot_tsig_sign(reinterpret_cast<std::uint8_t*>(wire.data()), &size, wire.size(), reinterpret_cast<const std::uint8_t*>(q.mac.data()),
                         q.mac.size(), mac, &mac_size, &k, 0, 0) == KNOT_EOK);
  knot_tsig_key_deinit(&k);
  wire.resize(size);
  return wire;
}

request signed_update() {
  update u{domain, mark_of(domain), {}, {}, {address_record("a.skald.test", 15, *ip_address::parse("192.0.2.1"))}};
  return *make_update(4711, u, key);
}

} // namespace

TEST_CASE("update: prerequisite, removals and additions stand in their sections (RFC 2136 §2)") {
  const record was = guard_record(domain, {"a", "s", 1}), now = guard_record(domain, {"a", "s", 2});
  const record ip = address_record("a.skald.test", 15, *ip_address::parse("2001:db8::1"));
  const auto made = make_update(9, {domain, mark_of(domain), {was}, {was}, {now, ip}}, {});
  REQUIRE(made.has_value());
  const auto seen = read_update(made->wire);
  REQUIRE(seen.has_value());
  CHECK(seen->zone == domain);
  REQUIRE(seen->prerequisites.size() == 1);
  CHECK(seen->prerequisites[0].what.same_data(was));
  CHECK(seen->prerequisites[0].what.ttl == 0);
  REQUIRE(seen->changes.size() == 3);
  CHECK(seen->changes[0].rr_class == 254);
  CHECK(seen->changes[2].what == ip);
}

TEST_CASE("update: the first time the guard must not exist (RFC 2136 §2.4.3)") {
  const auto seen = read_update(make_update(9, {domain, mark_of(domain), {}, {}, {guard_record(domain, {"a", "s", 1})}}, {})->wire);
  REQUIRE(seen.has_value());
  REQUIRE(seen->prerequisites.size() == 1);
  CHECK(seen->prerequisites[0].rr_class == 254);
  CHECK(seen->prerequisites[0].whole_set);
}

TEST_CASE("TSIG: an answer signed with the key is believed, one with another key or an altered byte is not (RFC 8945)") {
  const request q = signed_update();
  CHECK(!q.mac.empty());
  std::string good = server_answer(q, 0, key);
  CHECK(read_response(good, q, key)->verified);
  tsig_key other = key;
  other.secret = "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgMTI=";
  CHECK(!read_response(server_answer(q, 0, other), q, key)->verified);
  good[3] = static_cast<char>(good[3] | 5);
  CHECK(!read_response(good, q, key)->verified);
}

TEST_CASE("TSIG: a key that cannot be used is no crash") {
  CHECK(usable(key));
  CHECK(!usable({"skald", "hmac-none", "AAAA"}));
  CHECK(!usable({"skald", "hmac-sha256", "%%%"}));
  CHECK(!make_update(1, {domain, mark_of(domain), {}, {}, {}}, {"skald", "hmac-sha256", "%%%"}));
}

TEST_CASE("response: another id, another question or another operation is not the answer") {
  const request q = make_query(7, domain, rr_type::soa), other_name = make_query(7, "x.test", rr_type::soa), other_id = make_query(8, domain, rr_type::soa);
  seeded_rng random(1);
  fake_server server(random);
  const std::string wire = server.reply(q.wire, false);
  CHECK(read_response(wire, q, {}).has_value());
  CHECK(!read_response(wire, other_name, {}));
  CHECK(!read_response(wire, other_id, {}));
  CHECK(!read_response(wire, *make_update(7, {domain, mark_of(domain), {}, {}, {}}, {}), {}));
}

TEST_CASE("problems: each refusal has a name of its own") {
  const auto state = [](std::uint16_t code, std::uint16_t tsig) {
    response r;
    r.code = code;
    r.tsig_error = tsig;
    return problem_of(r, "update").state;
  };
  CHECK(state(9, 17) == publish_state::bad_key);
  CHECK(state(9, 16) == publish_state::bad_key);
  CHECK(state(9, 18) == publish_state::bad_time);
  CHECK(state(9, 0) == publish_state::notauth);
  CHECK(state(10, 0) == publish_state::notauth);
  CHECK(state(5, 0) == publish_state::refused);
  CHECK(state(2, 0) == publish_state::servfail);
  CHECK(state(1, 0) == publish_state::bad_answer);
}
