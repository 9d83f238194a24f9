#include "dht/link/messages.hpp"

#include "dht/link/make_frame.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

std::string text(pack::fields& in) { return std::string(in.bin().substr(0, hello_text_bytes_max)); }

frame encode_number(frame_type type, std::uint64_t number) {
  return make_frame(type, [&](pack::writer& p) { p.array(1).uint(number); });
}

template <class Message>
result<Message> decode_number(const frame& f) {
  pack::reader r(f.body);
  pack::fields in(r);
  const Message m{in.uint()};
  if (!r.ok()) return std::unexpected(errc::malformed);
  return m;
}

} // namespace

frame hello::encode() const {
  return make_frame(frame_type::hello,
              [&](pack::writer& p) { p.array(4).uint(lowest).uint(highest).bin(software).uint(life); });
}

result<hello> hello::decode(const frame& f) {
  pack::reader r(f.body);
  pack::fields in(r);
  hello h;
  h.lowest = in.number<std::uint32_t>(1);
  h.highest = in.number<std::uint32_t>(1);
  h.software = text(in);
  h.life = in.uint();
  if (!r.ok() || h.lowest > h.highest) return std::unexpected(errc::malformed);
  return h;
}

std::optional<std::uint32_t> spoken_version(const hello& mine, const hello& theirs) {
  const auto spoken = std::min(mine.highest, theirs.highest);
  if (spoken < mine.lowest || spoken < theirs.lowest) return std::nullopt;
  return spoken;
}

frame goodbye::encode() const {
  return make_frame(frame_type::goodbye, [&](pack::writer& p) { p.array(2).uint(static_cast<std::uint8_t>(why)).bin(text); });
}

result<goodbye> goodbye::decode(const frame& f) {
  pack::reader r(f.body);
  pack::fields in(r);
  goodbye g;
  const auto why = in.uint();
  // A reason that a newer peer knows is a closing like any other.
  if (why <= static_cast<std::uint8_t>(reason::protocol_error)) g.why = static_cast<reason>(why);
  g.text = dht::text(in);
  if (!r.ok()) return std::unexpected(errc::malformed);
  return g;
}

frame link_ping::encode() const { return encode_number(frame_type::link_ping, number); }
result<link_ping> link_ping::decode(const frame& f) { return decode_number<link_ping>(f); }

frame link_pong::encode() const { return encode_number(frame_type::link_pong, number); }
result<link_pong> link_pong::decode(const frame& f) { return decode_number<link_pong>(f); }

} // namespace skald::dht
