#include "roles/core/subscriber.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "dht/view/pack.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

namespace pack = dht::pack;

constexpr std::size_t fields_written = 9;
constexpr std::string_view the_item; // one record a key

bool fits(std::string_view hash, digest_hash h) { return hash.empty() || hash.size() == size_of(h); }

bool is_sound(const subscriber& s) {
  if (s.aor.empty()) return false;
  for (const digest_hash h : all_digest_hashes)
    if (!fits(s.of(h).of_user, h) || !fits(s.of(h).of_user_at_realm, h)) return false;
  return true;
}

subscriber::hashes hashes_of(digest_hash h, std::string_view user, std::string_view realm, std::string_view password) {
  const std::string plain(user), domain(realm), secret(password);
  // RFC 7616 §3.4.2: A1 = unq(username) ":" unq(realm) ":" passwd
  return {hash_of(h, plain + ":" + domain + ":" + secret),
          hash_of(h, plain + "@" + domain + ":" + domain + ":" + secret)};
}

outcome<std::string> read_ha1(std::string_view hex, digest_hash h) {
  if (hex.empty()) return std::string();
  auto raw = from_hex(hex);
  if (!raw || raw->size() != size_of(h))
    return std::unexpected(failure{"the " + std::string(name_of(h)) + " hash has to be " +
                                       std::to_string(size_of(h) * 2) + " hex digits",
                                   "it is H(user:domain:password)"});
  return std::move(*raw);
}

} // namespace

std::string_view name_of(digest_hash h) { return h == digest_hash::md5 ? "MD5" : "SHA-256"; }

std::optional<digest_hash> digest_hash_from(std::string_view name) {
  for (const digest_hash h : all_digest_hashes)
    if (equal_nocase(name, name_of(h))) return h;
  return std::nullopt;
}

std::string hash_of(digest_hash h, std::string_view data) {
  return h == digest_hash::md5 ? crypto::md5(data) : crypto::sha256(data);
}

bool subscriber::owns(std::string_view other_aor) const {
  return other_aor == aor || std::ranges::find(aliases, other_aor) != aliases.end();
}

std::string encode(const subscriber& s) {
  std::string out;
  pack::writer w(out);
  w.array(fields_written);
  w.str(s.aor);
  w.bin(s.md5.of_user);
  w.bin(s.md5.of_user_at_realm);
  w.bin(s.sha256.of_user);
  w.bin(s.sha256.of_user_at_realm);
  w.boolean(s.present_any);
  w.array(s.aliases.size());
  for (const std::string& a : s.aliases) w.str(a);
  w.str(s.alias_of);
  w.sint(s.created);
  return out;
}

result<subscriber> decode_subscriber(std::string_view bytes) {
  pack::reader r(bytes);
  subscriber s;
  {
    pack::fields f(r);
    if (f.more()) s.aor = r.bin();
    if (f.more()) s.md5.of_user = r.bin();
    if (f.more()) s.md5.of_user_at_realm = r.bin();
    if (f.more()) s.sha256.of_user = r.bin();
    if (f.more()) s.sha256.of_user_at_realm = r.bin();
    if (f.more()) s.present_any = r.boolean();
    if (f.more()) {
      const std::size_t aliases = r.array();
      if (aliases > aliases_max) return std::unexpected(errc::too_large);
      for (std::size_t i = 0; i < aliases && r.ok(); ++i) s.aliases.emplace_back(r.bin());
    }
    if (f.more()) s.alias_of = r.bin();
    if (f.more()) s.created = r.sint();
  }
  if (!r.ok() || !r.at_end() || !is_sound(s)) return std::unexpected(errc::malformed);
  return s;
}

subscriber make_subscriber(std::string_view aor, std::string_view password, unix_ms now) {
  subscriber s;
  s.aor = aor;
  s.created = now;
  set_password(s, password);
  return s;
}

void set_password(subscriber& s, std::string_view password) {
  s.md5 = hashes_of(digest_hash::md5, user_of(s.aor), domain_of(s.aor), password);
  s.sha256 = hashes_of(digest_hash::sha256, user_of(s.aor), domain_of(s.aor), password);
}

outcome<subscriber> make_subscriber_from_ha1(std::string_view aor, std::string_view md5_hex,
                                             std::string_view sha256_hex, unix_ms now) {
  auto md5 = read_ha1(md5_hex, digest_hash::md5);
  if (!md5) return std::unexpected(md5.error());
  auto sha256 = read_ha1(sha256_hex, digest_hash::sha256);
  if (!sha256) return std::unexpected(sha256.error());
  if (md5->empty() && sha256->empty()) return std::unexpected(failure{"no hash is given", ""});
  subscriber s;
  s.aor = aor;
  s.created = now;
  s.md5.of_user = std::move(*md5);
  s.sha256.of_user = std::move(*sha256);
  return s;
}

outcome<std::string> read_aor(std::string_view text, std::string_view default_domain) {
  std::string full(text);
  const std::string folded = to_lower(text);
  if (!folded.starts_with("sip:") && !folded.starts_with("sips:") && !folded.starts_with("tel:")) {
    full = "sip:" + full;
    if (text.find('@') == std::string_view::npos) full += "@" + std::string(default_domain);
  }
  const auto u = sip::parse_uri(full);
  const bool has_user = u && !u->user.empty() && !u->host.empty();
  if (u && (has_user || u->scheme == sip::uri_scheme::tel))
    if (auto aor = sip::canonical_aor(*u, default_domain)) return std::move(*aor);
  return std::unexpected(failure{"\"" + std::string(text) + "\" is not an address of record",
                                 "write it as user@domain"});
}

std::string_view user_of(std::string_view aor) {
  const auto colon = aor.find(':');
  if (colon != std::string_view::npos) aor.remove_prefix(colon + 1);
  const auto at = aor.rfind('@');
  return at == std::string_view::npos ? std::string_view{} : aor.substr(0, at);
}

std::string_view domain_of(std::string_view aor) {
  const auto at = aor.rfind('@');
  if (at != std::string_view::npos) return aor.substr(at + 1);
  const auto colon = aor.find(':');
  return colon == std::string_view::npos ? aor : aor.substr(colon + 1);
}

outcome<void> check_password(std::string_view password) {
  if (password.empty()) return std::unexpected(failure{"the password is empty", ""});
  if (password.size() > password_bytes_max)
    return std::unexpected(failure{"the password is longer than " + std::to_string(password_bytes_max) + " bytes", ""});
  return {};
}

dht::change put_subscriber(const subscriber& s) { return {std::string(the_item), encode(s), 0, false}; }

dht::change delete_subscriber() { return {std::string(the_item), {}, 0, true}; }

std::optional<subscriber> subscriber_in(std::span<const dht::record> records) {
  for (const dht::record& r : records)
    if (r.item == the_item)
      if (auto s = decode_subscriber(r.value)) return std::move(*s);
  return std::nullopt;
}

} // namespace skald::roles
