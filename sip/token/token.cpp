#include "sip/token/token.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <optional>

namespace skald::sip {

namespace {

// In clear: version (1), key id (4). Sealed behind it, with those five bytes as context:
//   flags (1): bit 0 kind, 1 side, 2-3 transport, 4 local is IPv6, 5 remote is IPv6
//   node (8) worker (2) serial (4) partition (2) binding id (8) dialog hash (6) local (6 or 18) remote (6 or 18)
constexpr std::uint8_t token_version = 1;
constexpr std::size_t clear_size = 5;
constexpr std::size_t seal_size = 16;
constexpr std::size_t fixed_size = 1 + 8 + 2 + 4 + 2 + 8 + 6;
constexpr std::size_t size_min = clear_size + seal_size + fixed_size + 2 * 6;
constexpr std::size_t size_max = clear_size + seal_size + fixed_size + 2 * 18;
static_assert((size_max * 4 + 2) / 3 <= token_text_max);
constexpr std::uint64_t dialog_hash_mask = 0xffff'ffff'ffff;

void put_endpoint(std::string& out, const endpoint& e) {
  out.append(reinterpret_cast<const char*>(e.ip.bytes.data()), e.ip.is_v4() ? 4 : 16);
  put_be<std::uint16_t>(out, e.port);
}

endpoint take_endpoint(std::string_view& in, bool v6) {
  endpoint e;
  const std::size_t n = v6 ? 16 : 4;
  e.ip.family = v6 ? ip_family::v6 : ip_family::v4;
  std::memcpy(e.ip.bytes.data(), in.data(), n);
  e.port = get_be<std::uint16_t>(in.substr(n));
  in.remove_prefix(n + 2);
  return e;
}

template <class U> U take(std::string_view& in) {
  const U value = get_be<U>(in);
  in.remove_prefix(sizeof(U));
  return value;
}

std::string pack(const token& t) {
  std::string out;
  out.reserve(size_max);
  const unsigned flags = static_cast<unsigned>(t.kind) | static_cast<unsigned>(t.side) << 1 |
                         static_cast<unsigned>(t.transport) << 2 | (t.local.ip.is_v4() ? 0u : 1u << 4) |
                         (t.remote.ip.is_v4() ? 0u : 1u << 5);
  put_be<std::uint8_t>(out, static_cast<std::uint8_t>(flags));
  put_be<std::uint64_t>(out, t.node);
  put_be<std::uint16_t>(out, t.worker);
  put_be<std::uint32_t>(out, t.serial);
  put_be<std::uint16_t>(out, static_cast<std::uint16_t>(t.partition));
  put_be<std::uint64_t>(out, t.binding_id);
  put_be<std::uint16_t>(out, static_cast<std::uint16_t>(t.dialog_hash >> 32));
  put_be<std::uint32_t>(out, static_cast<std::uint32_t>(t.dialog_hash));
  put_endpoint(out, t.local);
  put_endpoint(out, t.remote);
  return out;
}

result<token> unpack(std::string_view in) {
  if (in.size() < fixed_size) return std::unexpected(errc::malformed);
  token t;
  const auto flags = take<std::uint8_t>(in);
  const bool local6 = flags & 0x10, remote6 = flags & 0x20;
  t.kind = static_cast<token_kind>(flags & 1);
  t.side = static_cast<token_side>(flags >> 1 & 1);
  t.transport = static_cast<sip::transport>(flags >> 2 & 3);
  t.node = take<std::uint64_t>(in);
  t.worker = take<std::uint16_t>(in);
  t.serial = take<std::uint32_t>(in);
  t.partition = skald::partition{take<std::uint16_t>(in)};
  t.binding_id = take<std::uint64_t>(in);
  t.dialog_hash = static_cast<std::uint64_t>(take<std::uint16_t>(in)) << 32;
  t.dialog_hash |= take<std::uint32_t>(in);
  if (in.size() != (local6 ? 18u : 6u) + (remote6 ? 18u : 6u)) return std::unexpected(errc::malformed);
  t.local = take_endpoint(in, local6);
  t.remote = take_endpoint(in, remote6);
  return t;
}

std::optional<std::string> outer_form(std::string_view text) {
  if (text.size() > token_text_max || text.size() < size_min) return std::nullopt;
  auto bytes = from_base64url(text);
  if (!bytes || bytes->size() < size_min || bytes->size() > size_max) return std::nullopt;
  return std::move(*bytes);
}

// Length before each part: no two lists of parts hash alike.
std::uint64_t hash_parts(std::string_view purpose, std::initializer_list<std::string_view> parts) {
  std::string all(purpose);
  for (const std::string_view p : parts) {
    put_be<std::uint32_t>(all, static_cast<std::uint32_t>(p.size()));
    all += p;
  }
  return get_be<std::uint64_t>(crypto::sha256(all));
}

} // namespace

std::string seal_token(const token& t, const key_ring& keys, unix_ms now) {
  const cluster_key* key = keys.signing(now);
  if (!key) return {};
  std::string out;
  put_be<std::uint8_t>(out, token_version);
  put_be<std::uint32_t>(out, key->id);
  out += crypto::siv_seal(key->derive("token"), out, pack(t));
  return to_base64url(out);
}

result<token> open_token(std::string_view text, const key_ring& keys) {
  const auto bytes = outer_form(text);
  if (!bytes) return std::unexpected(errc::malformed);
  const std::string_view in = *bytes;
  if (static_cast<std::uint8_t>(in[0]) != token_version) return std::unexpected(errc::unsupported);
  const cluster_key* key = keys.find(get_be<std::uint32_t>(in.substr(1)));
  if (!key) return std::unexpected(errc::not_authentic);
  const auto plain = crypto::siv_open(key->derive("token"), in.substr(0, clear_size), in.substr(clear_size));
  if (!plain) return std::unexpected(errc::not_authentic);
  return unpack(*plain);
}

bool looks_like_token(std::string_view text) {
  const auto bytes = outer_form(text);
  return bytes && static_cast<std::uint8_t>((*bytes)[0]) == token_version;
}

std::uint32_t key_id_of_token(std::string_view text) {
  const auto bytes = outer_form(text);
  return bytes ? get_be<std::uint32_t>(std::string_view(*bytes).substr(1)) : 0;
}

std::uint64_t binding_id(std::string_view aor, std::string_view instance, std::uint32_t reg_id) {
  return std::max<std::uint64_t>(1, hash_parts("skald binding instance", {aor, instance, std::to_string(reg_id)}));
}

std::uint64_t binding_id(std::string_view aor, std::string_view contact) {
  return std::max<std::uint64_t>(1, hash_parts("skald binding contact", {aor, contact}));
}

std::uint64_t dialog_hash(std::string_view call_id, std::string_view tag) {
  return hash_parts("skald dialog", {call_id, tag}) & dialog_hash_mask;
}

} // namespace skald::sip
