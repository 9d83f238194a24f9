// Every message has a stored sample of each version in tests/data/wire: what was once spoken is understood for good.
// SKALD_WRITE_SAMPLES=1 writes those that are missing, never over one that exists.
#include "base/encoding.hpp"
#include "dht/link/messages.hpp"
#include "dht/store/merge_messages.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace skald;
using namespace skald::dht;

namespace {

template <class Id>
Id an_id(std::uint8_t fill) {
  Id id;
  id.bytes.fill(fill);
  return id;
}

record a_record(std::string item, bool removed = false) {
  record r;
  r.table = table::bindings;
  r.key = an_id<ring_key>(0xab);
  r.item = std::move(item);
  if (!removed) r.value = "sip:alice@192.0.2.1:5060";
  r.version = {0x0190'0000'0000'0007ULL, 0xfedc'ba98'7654'3210ULL};
  r.expires = removed ? 0 : 1'700'000'360'000;
  r.removed = removed;
  return r;
}

std::string sample(const std::string& name, const frame& made) {
  const auto path = std::string(TEST_DATA) + "/wire/" + name + ".hex";
  if (std::getenv("SKALD_WRITE_SAMPLES") != nullptr && !std::filesystem::exists(path))
    std::ofstream(path) << to_hex(made.body) << "\n";
  std::ifstream in(path);
  std::string hex;
  REQUIRE_MESSAGE(std::getline(in, hex), path);
  return *from_hex(hex);
}

// The present encoder writes the sample of its version; the decoder takes it, with elements appended by a newer version
// too; every cut of it is refused or harmless.
enum class last_element : std::uint8_t { known, appended }; // appended: later versions have taken the next place
template <class Message>
void holds(const std::string& name, const Message& m, last_element ends = last_element::known) {
  CAPTURE(name);
  const frame made = m.encode();
  const auto body = sample(name + ".v" + std::to_string(made.version), made);
  CHECK(to_hex(made.body) == to_hex(body));
  const auto again = Message::decode({made.type, made.version, body});
  REQUIRE(again.has_value());
  CHECK(to_hex(again->encode().body) == to_hex(body));

  for (std::size_t n = 0; n < body.size(); ++n) (void)Message::decode({made.type, made.version, body.substr(0, n)});
  CHECK_FALSE(Message::decode({made.type, made.version, body.substr(0, body.size() - 1)}).has_value());
  CHECK_FALSE(Message::decode({made.type, made.version, ""}).has_value());
  if (ends == last_element::appended) return;

  auto longer = body;
  REQUIRE((static_cast<std::uint8_t>(longer[0]) & 0xf0) == 0x90);
  ++longer[0];
  longer += "\x92\x01\x81\xa1k\xc0"; // [1, {"k": nil}]
  const auto newer = Message::decode({made.type, made.version, longer});
  REQUIRE(newer.has_value());
  CHECK(to_hex(newer->encode().body) == to_hex(body));
}

} // namespace

TEST_CASE("wire: the link's messages are as their stored samples") {
  holds("hello", hello{1, 3, "skald/0.1.0", 1'700'000'000'000});
  holds("goodbye", goodbye{goodbye::reason::revoked, "revoked"});
  holds("link_ping", link_ping{77});
  holds("link_pong", link_pong{~std::uint64_t{0}});
}

TEST_CASE("wire: the store's messages are as their stored samples") {
  const view_stamp stamp{0x1122'3344'5566'7788ULL, 42};
  const auto key = an_id<ring_key>(0xab);
  holds("store_write", store_write{stamp, {{9, {a_record("phone"), a_record("gone", true)}}, {10, {a_record("")}}}});
  holds("store_ack", store_ack{stamp, {{9, store_ack::status::held}, {10, store_ack::status::not_owner},
                                       {11, store_ack::status::refused}}});
  holds("store_fetch", store_fetch{5, table::subscribers, key});
  auto stub = a_record("stub");
  stub.value.clear();
  stub.value_hash = 0x1234'5678'9abc'def0ULL;
  const auto node = an_id<node_id>(0xcd);
  holds("store_records", store_records{5, true, {a_record("phone"), a_record("gone", true)}, {}, {}}, last_element::appended);
  holds("store_records_with_sources", store_records{5, true, {a_record("phone"), stub}, stamp, {node}});
  holds("store_put", store_put{6, table::settings, key, {{"profile", "lan", 0, false}, {"inbound", "", 0, true}}}, last_element::appended);
  holds("store_put_with_time", store_put{6, table::settings, key, {{"profile", "lan", 0, false}}, 1'700'000'000'123});
  change conditional{"", "subscriber", 0, false};
  conditional.made_from = condition_of("before");
  holds("store_put_conditional", store_put{6, table::subscribers, key, {conditional}, 1'700'000'000'123});
  holds("store_put_done", store_put_done{6, store_put_done::done, 0, {a_record("phone")}});
  holds("store_put_done_refused",
        store_put_done{7, static_cast<std::uint8_t>(write_error::refused), -423, {}});
  holds("store_copy_request", store_copy_request{8, stamp, {{partition{0}, 0}, {partition{65535}, 0x99}}, {}},
        last_element::appended);
  holds("store_copy_request_of_ranges",
        store_copy_request{8, stamp, {{partition{0}, 0}, {partition{7}, 0}},
                           {{partition{7}, wanted_range::whole, {{1, 2, 3}}}, {partition{7}, 63, {}}}});
  partition_set parts;
  parts.set(partition{3});
  parts.set(partition{4});
  holds("store_compare", store_compare{8, stamp, 1'700'000'032'000, compare_level::all, false, parts, {}, {{0, 1}, {1, ~0ULL}}});
  holds("store_compare_sub_ranges",
        store_compare{8, stamp, 1'700'000'032'000, compare_level::sub_ranges, true, {}, {3, 4}, {{3 * 64 + 5, 77}}});
  holds("store_compared", store_compared{8, stamp, store_compared::status::done, compare_level::all, {0, 1},
                                         {{node, 1'700'000'000'000, parts}}});
  holds("store_merge_please", store_merge_please{stamp, parts});
  holds("store_state", store_state{true, stamp, true});
  holds("store_copy", store_copy{8, 2, {a_record("phone")}});
  holds("store_copy_done", store_copy_done{8, stamp});
}

TEST_CASE("wire: hello of few words takes defaults, and versions meet at the lower of the two highest") {
  const auto h = hello::decode({frame_type::hello, 1, std::string("\x90", 1)});
  REQUIRE(h.has_value());
  CHECK(h->lowest == 1);
  CHECK(h->highest == 1);
  CHECK(spoken_version({1, 3, "", 0}, {2, 5, "", 0}) == 3);
  CHECK(spoken_version({2, 5, "", 0}, {1, 3, "", 0}) == 3);
  CHECK_FALSE(spoken_version({4, 5, "", 0}, {1, 3, "", 0}).has_value());
  CHECK_FALSE(hello::decode({frame_type::hello, 1, "\x92\x05\x01"}).has_value()); // lowest above highest
}

TEST_CASE("wire: what would harm is refused") {
  store_write two_keys{{}, {{1, {a_record("a"), a_record("b")}}}};
  two_keys.entries[0].records[1].key = an_id<ring_key>(1);
  CHECK_FALSE(store_write::decode(two_keys.encode()).has_value());
  CHECK_FALSE(store_write::decode(store_write{{}, {{1, {}}}}.encode()).has_value());

  auto big = a_record("big");
  big.value.assign(record_value_bytes_max + 1, 'x');
  CHECK_FALSE(store_records::decode(store_records{1, true, {big}, {}, {}}.encode()).has_value());
  auto unknown = a_record("x");
  unknown.table = static_cast<table>(200);
  CHECK_FALSE(store_records::decode(store_records{1, true, {unknown}, {}, {}}.encode()).has_value());
  CHECK_FALSE(store_copy_request::decode(store_copy_request{1, {}, {{partition{9}, 0}, {partition{3}, 0}}, {}}.encode()).has_value());
}

TEST_CASE("wire: a batch of the append log comes back, and a damaged one is refused") {
  const std::vector<record> batch{a_record("phone"), a_record("gone", true)};
  const auto bytes = encode_batch(batch);
  CHECK(decode_batch(bytes).value() == batch);
  CHECK_FALSE(decode_batch(bytes.substr(0, bytes.size() - 1)).has_value());
  CHECK_FALSE(decode_batch("").has_value());
}
