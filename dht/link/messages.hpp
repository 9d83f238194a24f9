#pragma once
// The messages of the link itself.
#include "base/errors.hpp"
#include "dht/link/channel.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace skald::dht {

inline constexpr std::uint32_t wire_version_lowest = 1;
inline constexpr std::uint32_t wire_version_highest = 2;
inline constexpr std::uint32_t wire_version_compare = 2; // from here on stores compare digests before they merge

// First frame in both directions. Its own layout never changes but by appending.
struct hello {
  std::uint32_t lowest = wire_version_lowest, highest = wire_version_highest; // protocol versions spoken
  std::string software;     // "skald/0.1.0"
  std::uint64_t life = 0;   // of the sender

  bool operator==(const hello&) const = default;
  frame encode() const;
  static result<hello> decode(const frame& f);
};
// The lower of the two highest; nullopt: the ranges do not meet, and the link is closed with goodbye.
std::optional<std::uint32_t> spoken_version(const hello& mine, const hello& theirs);

// The link is closed on purpose: it says nothing of the node's health.
struct goodbye {
  enum class reason : std::uint8_t { closing = 0, version = 1, revoked = 2, duplicate = 3, protocol_error = 4 };
  reason why = reason::closing;
  std::string text; // for the log

  bool operator==(const goodbye&) const = default;
  frame encode() const;
  static result<goodbye> decode(const frame& f);
};

// Membership's ping over a link, answered over the same link (ring-and-membership B3).
struct link_ping {
  std::uint64_t number = 0;
  bool operator==(const link_ping&) const = default;
  frame encode() const;
  static result<link_ping> decode(const frame& f);
};
struct link_pong {
  std::uint64_t number = 0; // of the ping
  bool operator==(const link_pong&) const = default;
  frame encode() const;
  static result<link_pong> decode(const frame& f);
};

inline constexpr std::size_t hello_text_bytes_max = 256;

} // namespace skald::dht
