#include "roles/core/location.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {

dht::record record_of(std::string contact, std::uint16_t q, unix_ms updated, std::string instance = {}, std::uint32_t reg_id = 0,
                      std::string item = {}) {
  binding b;
  b.aor = "sip:alice@example.com";
  b.contact = std::move(contact);
  b.q = q, b.updated = updated, b.instance = std::move(instance), b.reg_id = reg_id;
  dht::record r;
  r.item = item.empty() ? b.item() : item;
  r.value = encode(b);
  return r;
}

} // namespace

TEST_CASE("location: the highest q first, then the newest; what does not decode is left out") {
  dht::record broken;
  broken.item = "c:x", broken.value = "?";
  const auto found = bindings_of(std::vector{record_of("sip:a@h", 500, 1), record_of("sip:b@h", 1000, 1), broken,
                                             record_of("sip:c@h", 1000, 2)});
  REQUIRE(found.size() == 3);
  CHECK(found[0].contact == "sip:c@h");
  CHECK(found[1].contact == "sip:b@h");
  CHECK(found[2].contact == "sip:a@h");
}

TEST_CASE("location: of one (instance, reg-id) only the newest flow counts (RFC 5626 §6)") {
  const auto found = bindings_of(std::vector{record_of("sip:new@h", 1000, 5, "urn:uuid:1", 1, "x"),
                                             record_of("sip:old@h", 1000, 4, "urn:uuid:1", 1, "y")});
  REQUIRE(found.size() == 1);
  CHECK(found[0].contact == "sip:new@h");
}

TEST_CASE("location: flows of one instance are alternatives, the newest first; others are places of their own (RFC 5626 §7)") {
  const auto places = group_by_instance(bindings_of(std::vector{
      record_of("sip:one@h", 1000, 1, "urn:uuid:1", 1), record_of("sip:two@h", 200, 9, "urn:uuid:1", 2),
      record_of("sip:other@h", 500, 5, "urn:uuid:2", 1), record_of("sip:plain@h", 400, 5, "urn:uuid:1"),
      record_of("sip:bare@h", 300, 5)}));
  REQUIRE(places.size() == 4);
  REQUIRE(places[0].flows.size() == 2);
  CHECK(places[0].flows[0].contact == "sip:two@h");
  CHECK(places[0].q() == 1000);
  CHECK(places[1].flows[0].contact == "sip:other@h");
  CHECK(places[2].flows[0].contact == "sip:plain@h");
  CHECK(places[3].flows[0].contact == "sip:bare@h");
}
