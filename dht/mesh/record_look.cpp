#include "dht/mesh/record_look.hpp"

#include "base/encoding.hpp"

#include <cstring>

namespace skald::dht {
namespace {
constexpr std::size_t record_header = 13, handshake_header = 12;
constexpr std::uint8_t change_cipher_spec = 20, handshake = 22, application_data = 23, hello_type = 1;
} // namespace

record_look look_at(std::string_view d) {
  record_look out;
  if (d.size() < record_header) return out;
  const auto type = static_cast<std::uint8_t>(d[0]);
  const auto version = get_be<std::uint16_t>(d.substr(1));
  // GnuTLS, like others, writes DTLS 1.0 on the first ClientHello's record.
  if (type < change_cipher_spec || type > application_data || (version != 0xfefd && version != 0xfeff)) return out;
  if (record_header + get_be<std::uint16_t>(d.substr(11)) > d.size()) return out;
  out.kind = get_be<std::uint16_t>(d.substr(3)) > 0 ? record_kind::sealed : record_kind::plain;
  if (out.kind == record_kind::sealed || type != handshake) return out;

  const auto body = d.substr(record_header);
  if (body.size() < handshake_header || static_cast<std::uint8_t>(body[0]) != hello_type) return out;
  // version, random; a ClientHello in fragments is none of ours
  const bool whole = body.substr(6, 3) == std::string_view("\0\0\0", 3);
  if (!whole || body.size() < handshake_header + 2 + out.random.size()) {
    out.kind = record_kind::not_dtls;
    return out;
  }
  std::memcpy(out.random.data(), body.data() + handshake_header + 2, out.random.size());
  out.kind = record_kind::client_hello;
  return out;
}

} // namespace skald::dht
