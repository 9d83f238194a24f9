#pragma once
// IP addresses and ports as values; no sockets.
#include "base/errors.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace skald {

enum class ip_family : std::uint8_t { v4, v6 };

struct ip_address {
  ip_family family = ip_family::v4;
  std::array<std::uint8_t, 16> bytes{}; // network order; v4 in the first four

  auto operator<=>(const ip_address&) const = default;
  bool is_v4() const { return family == ip_family::v4; }
  bool is_any() const; // 0.0.0.0 or ::
  bool is_loopback() const;
  bool is_private() const; // RFC 1918, RFC 4193, link-local
  std::string text() const;         // "192.0.2.1", "2001:db8::1"
  std::string text_in_uri() const;  // IPv6 in brackets

  // Plain text, IPv6 with or without brackets. IPv4-mapped IPv6 stays IPv6.
  static result<ip_address> parse(std::string_view text);
};

struct endpoint {
  ip_address ip;
  std::uint16_t port = 0;

  auto operator<=>(const endpoint&) const = default;
  std::string text() const; // "192.0.2.1:5060", "[2001:db8::1]:5060"
  // "ip:port", "[v6]:port"; without a port: `default_port`.
  static result<endpoint> parse(std::string_view text, std::uint16_t default_port = 0);
};

} // namespace skald

template <>
struct std::hash<skald::ip_address> {
  std::size_t operator()(const skald::ip_address& a) const noexcept;
};
template <>
struct std::hash<skald::endpoint> {
  std::size_t operator()(const skald::endpoint& e) const noexcept;
};
