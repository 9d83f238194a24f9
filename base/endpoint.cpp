#include "base/endpoint.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>

namespace skald {

bool ip_address::is_any() const {
  return std::ranges::all_of(bytes, [](std::uint8_t b) { return b == 0; });
}

bool ip_address::is_loopback() const {
  if (is_v4()) return bytes[0] == 127;
  return bytes[15] == 1 && std::all_of(bytes.begin(), bytes.end() - 1, [](std::uint8_t b) { return b == 0; });
}

bool ip_address::is_private() const {
  if (is_v4())
    return bytes[0] == 10 || (bytes[0] == 172 && (bytes[1] & 0xf0) == 16) || (bytes[0] == 192 && bytes[1] == 168) ||
           (bytes[0] == 169 && bytes[1] == 254) || (bytes[0] == 100 && (bytes[1] & 0xc0) == 64);
  return (bytes[0] & 0xfe) == 0xfc || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

std::string ip_address::text() const {
  char buffer[INET6_ADDRSTRLEN];
  inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes.data(), buffer, sizeof buffer);
  return buffer;
}

std::string ip_address::text_in_uri() const { return is_v4() ? text() : '[' + text() + ']'; }

result<ip_address> ip_address::parse(std::string_view text) {
  const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
  if (bracketed) text = text.substr(1, text.size() - 2);
  char buffer[INET6_ADDRSTRLEN + 1];
  if (text.empty() || text.size() >= sizeof buffer) return std::unexpected(errc::malformed);
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  ip_address out;
  if (!bracketed && inet_pton(AF_INET, buffer, out.bytes.data()) == 1) return out;
  out.family = ip_family::v6;
  if (inet_pton(AF_INET6, buffer, out.bytes.data()) == 1) return out;
  return std::unexpected(errc::malformed);
}

std::string endpoint::text() const { return ip.text_in_uri() + ':' + std::to_string(port); }

result<endpoint> endpoint::parse(std::string_view text, std::uint16_t default_port) {
  std::string_view host = text, port_text;
  if (const auto close = text.rfind(']'); close != std::string_view::npos) {
    host = text.substr(0, close + 1);
    if (close + 1 < text.size()) {
      if (text[close + 1] != ':') return std::unexpected(errc::malformed);
      port_text = text.substr(close + 2);
    }
  } else if (const auto colon = text.find(':'); colon != std::string_view::npos && text.rfind(':') == colon) {
    host = text.substr(0, colon);
    port_text = text.substr(colon + 1);
  }
  const auto ip = ip_address::parse(host);
  if (!ip) return std::unexpected(ip.error());
  endpoint out{*ip, default_port};
  if (host.size() != text.size()) {
    const auto [end, ec] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), out.port);
    if (ec != std::errc{} || end != port_text.data() + port_text.size()) return std::unexpected(errc::malformed);
  }
  return out;
}

} // namespace skald

std::size_t std::hash<skald::ip_address>::operator()(const skald::ip_address& a) const noexcept {
  std::uint64_t w[2];
  std::memcpy(w, a.bytes.data(), sizeof w);
  std::uint64_t h = w[0] ^ (w[1] * 0x9E3779B97F4A7C15ULL);
  h ^= h >> 32;
  return h * 0xd6e8feb86659fd93ULL;
}

std::size_t std::hash<skald::endpoint>::operator()(const skald::endpoint& e) const noexcept {
  return std::hash<skald::ip_address>{}(e.ip) * 31 + e.port;
}
