#include "dht/mesh/framing.hpp"

#include "base/encoding.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

constexpr std::uint8_t fragment_bit = 0x80;
constexpr std::size_t fragment_header = 7;

std::optional<mesh_channel> channel_from(std::uint8_t byte) {
  if (byte == static_cast<std::uint8_t>(mesh_channel::kademlia)) return mesh_channel::kademlia;
  if (byte == static_cast<std::uint8_t>(mesh_channel::gossip)) return mesh_channel::gossip;
  return std::nullopt;
}

} // namespace

std::vector<std::string> cut_message(mesh_channel c, std::string_view bytes, std::size_t record_bytes, std::uint32_t message_id) {
  std::vector<std::string> out;
  const auto first = static_cast<std::uint8_t>(c);
  if (bytes.size() > mesh_message_bytes_max || record_bytes <= fragment_header) return out;
  if (bytes.size() + 1 <= record_bytes) {
    out.emplace_back(1, static_cast<char>(first)).append(bytes);
    return out;
  }
  const std::size_t room = record_bytes - fragment_header, count = (bytes.size() + room - 1) / room;
  if (count > mesh_fragments_max) return out;
  for (std::size_t i = 0; i < count; ++i) {
    auto& record = out.emplace_back(1, static_cast<char>(first | fragment_bit));
    put_be(record, message_id);
    put_be(record, static_cast<std::uint8_t>(i));
    put_be(record, static_cast<std::uint8_t>(count));
    record.append(bytes.substr(i * room, room));
  }
  return out;
}

reassembler::partial* reassembler::find_or_begin(std::uint32_t id, mesh_channel c, std::size_t count, mono_time now) {
  std::erase_if(partials_, [&](const partial& p) { return now - p.begun > mesh_partial_time_max; });
  for (auto& p : partials_)
    if (p.id == id) return p.channel == c && p.pieces.size() == count ? &p : nullptr;
  if (partials_.size() == mesh_partial_max) partials_.erase(partials_.begin());
  auto& fresh = partials_.emplace_back();
  fresh.id = id;
  fresh.channel = c;
  fresh.pieces.resize(count);
  fresh.missing = count;
  fresh.begun = now;
  return &fresh;
}

result<std::optional<mesh_message>> reassembler::take(std::string_view record, mono_time now) {
  if (record.empty()) return std::unexpected(errc::malformed);
  const auto first = static_cast<std::uint8_t>(record[0]);
  const auto channel = channel_from(first & ~fragment_bit);
  if (!channel) return std::unexpected(errc::unsupported);
  if ((first & fragment_bit) == 0) return mesh_message{*channel, std::string(record.substr(1))};

  if (record.size() <= fragment_header) return std::unexpected(errc::malformed);
  const auto id = get_be<std::uint32_t>(record.substr(1));
  const auto index = static_cast<std::uint8_t>(record[5]), count = static_cast<std::uint8_t>(record[6]);
  if (count < 2 || count > mesh_fragments_max || index >= count) return std::unexpected(errc::malformed);
  auto* const whole = find_or_begin(id, *channel, count, now);
  if (!whole) return std::unexpected(errc::malformed);
  auto& piece = whole->pieces[index];
  if (!piece.empty()) return std::nullopt; // a duplicate
  const auto body = record.substr(fragment_header);
  if (whole->bytes + body.size() > mesh_message_bytes_max) {
    std::erase_if(partials_, [&](const partial& p) { return p.id == id; });
    return std::unexpected(errc::too_large);
  }
  piece = body;
  whole->bytes += body.size();
  if (--whole->missing > 0) return std::nullopt;
  mesh_message out{*channel, {}};
  out.bytes.reserve(whole->bytes);
  for (const auto& p : whole->pieces) out.bytes += p;
  std::erase_if(partials_, [&](const partial& p) { return p.id == id; });
  return out;
}

std::size_t reassembler::bytes_held() const {
  std::size_t sum = 0;
  for (const auto& p : partials_) sum += p.bytes;
  return sum;
}

} // namespace skald::dht
