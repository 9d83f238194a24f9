#include "dht/mesh/kademlia_id.hpp"

#include <msgpack.hpp>

namespace skald::dht {
namespace {

std::string_view text_of(const msgpack::object& o) {
  if (o.type == msgpack::type::STR) return {o.via.str.ptr, o.via.str.size};
  if (o.type == msgpack::type::BIN) return {o.via.bin.ptr, o.via.bin.size};
  return {};
}

struct finding {
  std::optional<node_id> id;
  bool contradiction = false;

  void add(const msgpack::object& o) {
    const auto claimed = node_id::from_bytes(text_of(o));
    if (!claimed || (id && *id != *claimed)) contradiction = true;
    else id = *claimed;
  }
};

void look_into(const msgpack::object& body, finding& out) {
  if (body.type != msgpack::type::MAP) return;
  const auto& map = body.via.map;
  for (std::uint32_t i = 0; i < map.size; ++i) // every occurrence: which of two OpenDHT takes is none of our business
    if (text_of(map.ptr[i].key) == "id") out.add(map.ptr[i].val);
}

result<std::optional<node_id>> examine(const msgpack::object& packet) {
  if (packet.type != msgpack::type::MAP) return std::unexpected(errc::malformed);
  finding found;
  bool needs_id = false;
  const auto& map = packet.via.map;
  for (std::uint32_t i = 0; i < map.size; ++i) {
    const auto key = text_of(map.ptr[i].key);
    if (key == "a" || key == "r") {
      needs_id = true;
      look_into(map.ptr[i].val, found);
    }
  }
  if (found.contradiction) return std::unexpected(errc::not_authentic);
  if (needs_id && !found.id) return std::unexpected(errc::missing);
  return found.id;
}

} // namespace

result<std::optional<node_id>> claimed_id(std::string_view packet) {
  // Bounds before anything is allocated for it: the packet itself is at most 64 KiB.
  static const msgpack::unpack_limit limits(65536, 65536, 65536, 65536, 65536, 32);
  try {
    const auto handle = msgpack::unpack(packet.data(), packet.size(), nullptr, nullptr, limits);
    return examine(handle.get());
  } catch (const std::exception&) { // the library's way of saying "not msgpack"
    return std::unexpected(errc::malformed);
  }
}

} // namespace skald::dht
