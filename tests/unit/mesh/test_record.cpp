#include "bench.hpp"
#include "samples.hpp"

#include "certs/credentials.hpp"
#include "dht/directory/peer_file.hpp"
#include "dht/directory/record.hpp"
#include "dht/mesh/refusals.hpp"

#include <opendht/crypto.h>
#include <opendht/infohash.h>

using namespace skald;
using namespace skald::dht;
using test::at, test::today, test::one_day;

namespace {

member_body body_of(const std::string& name) {
  member_body b;
  b.version = 7;
  b.name = name;
  b.addresses = {ip_address::parse("192.0.2.7").value(), ip_address::parse("2001:db8::7").value()};
  b.roles.add(role::proxy);
  b.roles.add(role::registrar);
  b.software = "skald/0.1.0";
  return b;
}

} // namespace

TEST_CASE("node id: the one that OpenDHT derives from the same certificate") {
  test::authority ca(today);
  for (const char* name : {"a", "b", "c"}) {
    const auto b = ca.make(name);
    const ::dht::crypto::Certificate theirs(reinterpret_cast<const std::uint8_t*>(b->certificate.data()), b->certificate.size());
    CHECK(b->id.hex() == ::dht::InfoHash::get("node:" + theirs.getId().toString()).toString());
  }
}

TEST_CASE("record: what a node signs is read back, with its author's id") {
  test::authority ca(today);
  const auto a = ca.make("a");
  const auto entry = open_record(make_record(body_of("a"), *a), certs::trust_of(*a), today);
  REQUIRE(entry.has_value());
  CHECK(entry->id == a->id);
  CHECK(entry->body == body_of("a"));
  CHECK(entry->certificate == a->certificate);
  CHECK(entry->overlay()[1].text() == "[2001:db8::7]:4260");
}

TEST_CASE("record: an altered, foreign, expired or misnamed one is refused") {
  test::authority ca(today), other(today);
  const auto a = ca.make("a"), stranger = other.make("a");
  const auto trust = certs::trust_of(*a);
  const std::string good = make_record(body_of("a"), *a);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    CAPTURE(i);
    CHECK_FALSE(open_record(bad, trust, today).has_value());
  }
  for (std::size_t n = 0; n < good.size(); n += 7) CHECK_FALSE(open_record(good.substr(0, n), trust, today).has_value());
  CHECK_FALSE(open_record(good + 'x', trust, today).has_value());
  CHECK(open_record(make_record(body_of("a"), *stranger), trust, today).error() == errc::not_authentic);
  CHECK(open_record(make_record(body_of("b"), *a), trust, today).error() == errc::not_authentic);
  CHECK(open_record(good, trust, today + 400 * one_day).error() == errc::expired);
  CHECK(open_record(std::string(record_bytes_max + 1, 'x'), trust, today).error() == errc::too_large);
}

TEST_CASE("record: a role that the certificate does not permit is cut away, and counted") {
  test::authority ca(today);
  const auto a = ca.make("a", {"proxy", "dns"});
  const auto before = refused_total(mesh_refusal::role);
  const auto entry = open_record(make_record(body_of("a"), *a), certs::trust_of(*a), today);
  REQUIRE(entry.has_value());
  CHECK(names(entry->body.roles) == std::vector<std::string_view>{"proxy"});
  CHECK(refused_total(mesh_refusal::role) == before + 1);
}

TEST_CASE("record: the stored sample of format 1 is still read") {
  const certs::trust trust{skald::from_hex(test::sample_ca).value(), "example.com"};
  const auto entry = open_record(skald::from_hex(test::sample_record_v1).value(), trust, test::sample_time);
  REQUIRE(entry.has_value());
  CHECK(entry->id.hex() == test::sample_node_id);
  CHECK(entry->body.name == "node7");
  CHECK(entry->body.zone == "z1");
  CHECK(entry->body.capacity == 250);
  CHECK(entry->body.addresses.size() == 2);
  CHECK(names(entry->body.roles) == std::vector<std::string_view>{"proxy", "registrar"});
}

TEST_CASE("directory keys: shards by the top bits of the node id, apart for each domain") {
  node_id id;
  id.bytes[0] = 0b1010'0000;
  CHECK(directory_shard(id, 0) == 0);
  CHECK(directory_shard(id, 1) == 1);
  CHECK(directory_shard(id, 4) == 0b1010);
  CHECK(directory_key("example.com", 0) == directory_key("example.com", 0));
  CHECK(directory_key("example.com", 0) != directory_key("example.org", 0));
  CHECK(directory_key("example.com", 1, 4) != directory_key("example.com", 2, 4));
}

TEST_CASE("peer file: written and read back; damaged entries are passed over") {
  node_id id;
  id.bytes[3] = 9;
  const std::vector<known_peer> peers = {{"node7", id, at("192.0.2.7:4260")}, {"six", id, at("[2001:db8::6]:4261")}};
  CHECK(read_peer_file(write_peer_file(peers)).value() == peers);
  CHECK(read_peer_file(R"({"peers":[1,{},{"id":"x"},{"name":5,"id":")" + id.hex() + R"(","overlay":"192.0.2.7:4260"}]})").value().size() == 1);
  CHECK(read_peer_file("").error() == errc::malformed);
  CHECK(read_peer_file("[]").error() == errc::malformed);
  CHECK(read_peer_file(std::string(peer_file_bytes_max + 1, ' ')).error() == errc::too_large);
}
