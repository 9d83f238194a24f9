#include "roles/core/subscriber.hpp"

#include "base/encoding.hpp"
#include "base/pack.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

constexpr std::size_t fields_written = 9;
constexpr std::string_view the_item; // one record a key

constexpr std::size_t size_of(sip::digest_algorithm a) { return a == sip::digest_algorithm::md5 ? 16 : 32; }

// Kept as raw bytes in the record, as hex in memory, as the digest wants them.
void put_hash(pack::writer& w, std::string_view hex) { w.bin(from_hex(hex).value_or(std::string{})); }

std::string take_hash(pack::reader& r, sip::digest_algorithm a) {
  const std::string_view raw = r.bin();
  if (!raw.empty() && raw.size() != size_of(a)) r.fail();
  return to_hex(raw);
}

outcome<std::string> read_ha1(std::string_view hex, sip::digest_algorithm a) {
  if (hex.empty()) return std::string();
  const auto raw = from_hex(hex);
  if (!raw || raw->size() != size_of(a))
    return std::unexpected(failure{"the " + std::string(to_string(a)) + " hash has to be " +
                                       std::to_string(size_of(a) * 2) + " hex digits",
                                   "it is H(user:domain:password)"});
  return to_hex(*raw);
}

} // namespace

bool subscriber::owns(std::string_view other_aor) const {
  return other_aor == aor || std::ranges::find(aliases, other_aor) != aliases.end();
}

std::string encode(const subscriber& s) {
  std::string out;
  pack::writer w(out);
  w.array(fields_written);
  w.str(s.aor);
  put_hash(w, s.hashes.md5_user);
  put_hash(w, s.hashes.md5_user_at_realm);
  put_hash(w, s.hashes.sha256_user);
  put_hash(w, s.hashes.sha256_user_at_realm);
  w.boolean(s.present_any);
  w.array(s.aliases.size());
  for (const std::string& a : s.aliases) w.str(a);
  w.str(s.alias_of);
  w.sint(s.created);
  return out;
}

result<subscriber> decode_subscriber(std::string_view bytes) {
  pack::reader r(bytes);
  using enum sip::digest_algorithm;
  subscriber s;
  {
    pack::fields f(r);
    s.aor = f.bin();
    if (f.next()) s.hashes.md5_user = take_hash(r, md5);
    if (f.next()) s.hashes.md5_user_at_realm = take_hash(r, md5);
    if (f.next()) s.hashes.sha256_user = take_hash(r, sha256);
    if (f.next()) s.hashes.sha256_user_at_realm = take_hash(r, sha256);
    s.present_any = f.boolean();
    for (pack::fields aliases = f.array(aliases_max); aliases.more();) s.aliases.emplace_back(aliases.bin());
    s.alias_of = f.bin();
    s.created = f.sint();
  }
  if (!r.ok() || !r.at_end() || s.aor.empty()) return std::unexpected(errc::malformed);
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
  s.hashes = sip::hashes_of_password(user_of(s.aor), domain_of(s.aor), password);
}

outcome<subscriber> make_subscriber_from_ha1(std::string_view aor, std::string_view md5_hex,
                                             std::string_view sha256_hex, unix_ms now) {
  auto md5 = read_ha1(md5_hex, sip::digest_algorithm::md5);
  if (!md5) return std::unexpected(md5.error());
  auto sha256 = read_ha1(sha256_hex, sip::digest_algorithm::sha256);
  if (!sha256) return std::unexpected(sha256.error());
  if (md5->empty() && sha256->empty()) return std::unexpected(failure{"no hash is given", ""});
  subscriber s;
  s.aor = aor;
  s.created = now;
  s.hashes.md5_user = std::move(*md5);
  s.hashes.sha256_user = std::move(*sha256);
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

std::uint64_t condition_in(std::span<const dht::record> records) {
  for (const dht::record& r : records)
    if (r.item == the_item) return dht::condition_of(r.value);
  return dht::made_from_nothing;
}

std::optional<subscriber> subscriber_in(std::span<const dht::record> records) {
  for (const dht::record& r : records)
    if (r.item == the_item)
      if (auto s = decode_subscriber(r.value)) return std::move(*s);
  return std::nullopt;
}

} // namespace skald::roles
