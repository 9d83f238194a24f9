#include "dht/link/messages.hpp"

#include "dht/link/pack.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

template <class Body>
frame make(frame_type type, Body&& fill) {
  frame f{type, 1, {}};
  packer p(f.body);
  fill(p);
  return f;
}

std::string text(unpacker& in) { return std::string(in.bytes().substr(0, hello_text_bytes_max)); }

} // namespace

frame hello::encode() const {
  return make(frame_type::hello,
              [&](packer& p) { p.array(4).number(lowest).number(highest).bytes(software).number(life); });
}

result<hello> hello::decode(const frame& f) {
  unpack_cursor at{f.body};
  unpacker in(at);
  hello h;
  h.lowest = in.small<std::uint32_t>(1);
  h.highest = in.small<std::uint32_t>(1);
  h.software = text(in);
  h.life = in.number();
  if (!in.ok() || h.lowest > h.highest) return std::unexpected(errc::malformed);
  return h;
}

std::optional<std::uint32_t> spoken_version(const hello& mine, const hello& theirs) {
  const auto spoken = std::min(mine.highest, theirs.highest);
  if (spoken < mine.lowest || spoken < theirs.lowest) return std::nullopt;
  return spoken;
}

frame goodbye::encode() const {
  return make(frame_type::goodbye, [&](packer& p) { p.array(2).number(static_cast<std::uint8_t>(why)).bytes(text); });
}

result<goodbye> goodbye::decode(const frame& f) {
  unpack_cursor at{f.body};
  unpacker in(at);
  goodbye g;
  const auto why = in.number();
  // A reason that a newer peer knows is a closing like any other.
  if (why <= static_cast<std::uint8_t>(reason::protocol_error)) g.why = static_cast<reason>(why);
  g.text = dht::text(in);
  if (!in.ok()) return std::unexpected(errc::malformed);
  return g;
}

frame link_ping::encode() const {
  return make(frame_type::link_ping, [&](packer& p) { p.array(1).number(number); });
}

result<link_ping> link_ping::decode(const frame& f) {
  unpack_cursor at{f.body};
  unpacker in(at);
  const link_ping p{in.number()};
  if (!in.ok()) return std::unexpected(errc::malformed);
  return p;
}

frame link_pong::encode() const {
  return make(frame_type::link_pong, [&](packer& p) { p.array(1).number(number); });
}

result<link_pong> link_pong::decode(const frame& f) {
  unpack_cursor at{f.body};
  unpacker in(at);
  const link_pong p{in.number()};
  if (!in.ok()) return std::unexpected(errc::malformed);
  return p;
}

} // namespace skald::dht
