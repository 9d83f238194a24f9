// Whatever a member sends over the gossip channel or as a list over a link: the decoders first, then a whole membership
// in a cluster of three, which must stay consistent with itself.
#include "base/log.hpp"
#include "dht/swim/membership.hpp"
#include "dht/view/body_codec.hpp"

#include <cstdint>

using namespace skald;
using namespace skald::dht;

namespace {

node_id id_of(std::uint8_t n) {
  node_id id;
  id.bytes[0] = n;
  return id;
}

struct stand final : datagrams, link_port, membership_observer {
  manual_clock time;
  seeded_rng random{1};
  membership m{{.self = id_of(5), .begin = member_state::active}, *this, *this, *this, time, random, time.now()};

  stand() {
    const fact others[] = {{id_of(4), {1, 0}, member_state::active, 0}, {id_of(6), {1, 0}, member_state::active, 0}};
    m.merge(others, time.now());
  }
  void send(const node_id&, std::string) override {}
  bool send(const node_id&, frame) override { return true; }
  void on_view(view_ptr v) override {
    for (std::size_t i = 1; i < v->members.size(); ++i) SKALD_ASSERT(v->members[i - 1].id < v->members[i].id);
    SKALD_ASSERT(v->find(v->self) != nullptr && v->me().alive());
  }
  void on_body_wanted(const node_id&, std::uint64_t) override {}
  void on_self_removed(std::uint64_t, duration) override {}
  void on_stale(bool) override {}
  void pass(duration d) {
    time.advance(d);
    m.tick(time.now());
  }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  log::set_level(log::level::error);
  if (size == 0) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data + 1), size - 1);
  if (const auto body = decode_body(in)) SKALD_ASSERT(decode_body(encode_body(*body)) == *body);
  static_cast<void>(view_stamp::parse(in));
  swim_message m;
  if (decode(in, m)) {
    swim_message again;
    SKALD_ASSERT(decode(encode(m), again));
    SKALD_ASSERT(again.rumours.size() == m.rumours.size() && again.sender == m.sender);
  }
  stand s;
  const node_id from = id_of(4 + data[0] % 3 * 2); // two that are known, one that is not
  s.m.receive(from, in, s.time.now());
  s.m.on_frame(from, {data[0] & 0x80 ? frame_type::members_exchange : frame_type::members_reply, 1, std::string(in)}, s.time.now());
  for (int i = 0; i < 12; ++i) s.pass(milliseconds(90));
  return 0;
}
