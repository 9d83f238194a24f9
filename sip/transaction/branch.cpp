#include "sip/transaction/branch.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "sip/transaction/transaction_key.hpp"

namespace skald::sip {

namespace {

//  0        1                5            7                      15               19        23
//  +--------+----------------+------------+-----------------------+----------------+---------+
//  | version| key id         | worker     | serial                | loop hash      | MAC     |
//  +--------+----------------+------------+-----------------------+----------------+---------+
constexpr std::uint8_t branch_version = 1;
constexpr std::size_t signed_size = 19;
constexpr std::size_t mac_size = 4;
constexpr std::size_t text_size = 31; // of 23 bytes in base64url

// 32 bits: nobody can try offline, and a hit would only make a foreign Via look like ours to the loop check.
std::string mac(const cluster_key* key, std::string_view bytes) {
  const std::string secret = key ? key->derive("branch") : std::string(32, '\0');
  return crypto::hmac_sha256(secret, bytes).substr(0, mac_size);
}

} // namespace

std::string make_branch(const key_ring& keys, unix_ms now, const branch_parts& parts) {
  const cluster_key* key = keys.signing(now);
  std::string bytes;
  bytes.reserve(signed_size + mac_size);
  put_be<std::uint8_t>(bytes, branch_version);
  put_be<std::uint32_t>(bytes, key ? key->id : 0);
  put_be<std::uint16_t>(bytes, parts.worker);
  put_be<std::uint64_t>(bytes, parts.serial);
  put_be<std::uint32_t>(bytes, parts.loop_hash);
  bytes += mac(key, bytes);
  return std::string(magic_cookie) + to_base64url(bytes);
}

result<branch_parts> open_branch(std::string_view branch, const key_ring& keys) {
  // Exact size and case first: of all the Vias that pass only ours cost a hash.
  if (branch.size() != magic_cookie.size() + text_size || !branch.starts_with(magic_cookie))
    return std::unexpected(errc::malformed);
  const auto bytes = from_base64url(branch.substr(magic_cookie.size()));
  if (!bytes || bytes->size() != signed_size + mac_size) return std::unexpected(errc::malformed);
  const std::string_view in = *bytes;
  if (static_cast<std::uint8_t>(in[0]) != branch_version) return std::unexpected(errc::unsupported);
  const cluster_key* key = keys.find(get_be<std::uint32_t>(in.substr(1)));
  if (!key || !crypto::equal_constant_time(mac(key, in.substr(0, signed_size)), in.substr(signed_size)))
    return std::unexpected(errc::not_authentic);
  return branch_parts{.worker = get_be<std::uint16_t>(in.substr(5)),
                      .serial = get_be<std::uint64_t>(in.substr(7)),
                      .loop_hash = get_be<std::uint32_t>(in.substr(15))};
}

} // namespace skald::sip
