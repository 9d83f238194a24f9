#pragma once
// Strong ids. 160-bit values order and print like the 40 hex digits that OpenDHT and `sha1sum` print.
#include "base/encoding.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

namespace skald {

template <class Tag>
struct id160 {
  std::array<std::uint8_t, 20> bytes{};

  auto operator<=>(const id160&) const = default;
  std::string hex() const { return to_hex(view()); }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  bool is_zero() const { return *this == id160{}; }

  static result<id160> from_bytes(std::string_view raw) {
    if (raw.size() != 20) return std::unexpected(errc::malformed);
    id160 out;
    std::memcpy(out.bytes.data(), raw.data(), 20);
    return out;
  }
  static result<id160> from_hex(std::string_view text) {
    auto raw = skald::from_hex(text);
    if (!raw) return std::unexpected(raw.error());
    return from_bytes(*raw);
  }
  std::uint64_t head() const { return get_be<std::uint64_t>(view()); } // the first 8 bytes
};

// The OpenDHT id of a node's public key: bound to the certificate's key, stable over renewal.
using node_id = id160<struct node_id_tag>;
// The OpenDHT hash of an address of record or of another name (ring-and-membership A7).
using ring_key = id160<struct ring_key_tag>;

// One of 65 536 slices of the key space: the key's top 16 bits.
enum class partition : std::uint16_t {};
inline constexpr std::uint32_t partition_count = 65536;
inline partition partition_of(const ring_key& k) {
  return partition{static_cast<std::uint16_t>((k.bytes[0] << 8) | k.bytes[1])};
}

} // namespace skald

template <class Tag>
struct std::hash<skald::id160<Tag>> {
  std::size_t operator()(const skald::id160<Tag>& id) const noexcept {
    std::size_t h;
    std::memcpy(&h, id.bytes.data() + 4, sizeof h);
    return h;
  }
};
