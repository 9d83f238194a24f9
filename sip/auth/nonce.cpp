#include "sip/auth/nonce.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/key_trust.hpp"

namespace skald::sip {

namespace {

// time in ms (8), random (4), key id (4), MAC (16)
constexpr std::size_t signed_size = 16;
constexpr std::size_t mac_size = 16;
constexpr std::size_t text_size = 43;

std::string mac(const cluster_key& key, std::string_view signed_part, std::string_view realm) {
  return crypto::hmac_sha256(key.derive("nonce"), std::string(signed_part).append(realm)).substr(0, mac_size);
}

} // namespace

std::string make_nonce(const key_ring& keys, unix_ms now, rng& random, std::string_view realm) {
  const cluster_key* key = keys.signing(now);
  if (!key) return {};
  std::string bytes;
  put_be<std::uint64_t>(bytes, static_cast<std::uint64_t>(now));
  put_be<std::uint32_t>(bytes, static_cast<std::uint32_t>(random.next() >> 32));
  put_be<std::uint32_t>(bytes, key->id);
  bytes += mac(*key, bytes, realm);
  return to_base64url(bytes);
}

nonce_check check_nonce(std::string_view nonce, const key_ring& keys, unix_ms now, std::string_view realm) {
  if (nonce.size() != text_size) return {};
  const auto bytes = from_base64url(nonce);
  if (!bytes || bytes->size() != signed_size + mac_size) return {};
  const std::string_view in = *bytes;
  nonce_check out{.verdict = nonce_verdict::stale,
                  .id = get_be<std::uint64_t>(in.substr(signed_size)),
                  .made = static_cast<unix_ms>(get_be<std::uint64_t>(in))};
  const cluster_key* key = keys.find(get_be<std::uint32_t>(in.substr(12)));
  if (!key) return out;
  if (!crypto::equal_constant_time(mac(*key, in.substr(0, signed_size), realm), in.substr(signed_size))) return {};
  // Made under a key from before a revocation, which a thief may have: refused as soon as a later one signs (consistency.md §8).
  if (distrusted(*key) && !distrusted(*keys.signing(now))) return out;
  // Signed, so no time of an attacker's. Nodes' clocks differ: one made a little ahead of us is fresh.
  const milliseconds life = nonce_life;
  if (now - out.made <= life.count() && out.made - now <= life.count()) out.verdict = nonce_verdict::fresh;
  return out;
}

} // namespace skald::sip
