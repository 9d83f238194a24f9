#include "node/io/stun.hpp"

#include "base/encoding.hpp"

namespace skald::node {
namespace {

constexpr std::uint32_t magic_cookie = 0x2112A442;
constexpr std::size_t header_bytes = 20;
constexpr std::uint16_t binding_request = 0x0001, binding_success = 0x0101, xor_mapped_address = 0x0020;

} // namespace

bool is_stun(std::string_view d) {
  return d.size() >= header_bytes && (static_cast<std::uint8_t>(d[0]) & 0xc0) == 0 &&
         get_be<std::uint32_t>(d.substr(4)) == magic_cookie;
}

std::optional<std::string> stun_answer(std::string_view d, const endpoint& from) {
  if (!is_stun(d) || get_be<std::uint16_t>(d) != binding_request) return std::nullopt;
  if (get_be<std::uint16_t>(d.substr(2)) + header_bytes != d.size()) return std::nullopt;
  const std::size_t ip_bytes = from.ip.is_v4() ? 4 : 16;
  const std::string_view cookie_and_id = d.substr(4, 16);
  std::string out;
  put_be(out, binding_success);
  put_be(out, static_cast<std::uint16_t>(8 + ip_bytes));
  out += cookie_and_id;
  // RFC 5389 §15.2: port and address are xored with the cookie, IPv6 with the transaction id after it.
  put_be(out, xor_mapped_address);
  put_be(out, static_cast<std::uint16_t>(4 + ip_bytes));
  put_be(out, static_cast<std::uint16_t>(from.ip.is_v4() ? 1 : 2));
  put_be(out, static_cast<std::uint16_t>(from.port ^ (magic_cookie >> 16)));
  for (std::size_t i = 0; i < ip_bytes; ++i)
    out.push_back(static_cast<char>(from.ip.bytes[i] ^ static_cast<std::uint8_t>(cookie_and_id[i])));
  return out;
}

} // namespace skald::node
