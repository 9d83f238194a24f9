#pragma once
// A subscriber as kept in table::subscribers under key_of_aor(AoR), item "". The password is never kept: only digest
// hashes H(username:realm:password), which are secrets too and never go to a log, an error or JSON.
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "dht/store/store.hpp"
#include "sip/auth/digest.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t aliases_max = 64;
inline constexpr std::size_t password_bytes_max = 256;

struct subscriber {
  std::string aor;                   // canonical
  sip::subscriber_hashes hashes;     // lower-case hex
  bool present_any = false;          // a trunk: From may be anybody
  std::vector<std::string> aliases;  // further AoRs that this one may present and is reached by; canonical
  std::string alias_of;              // not empty: a signpost under an alias's key; nothing else of it counts
  unix_ms created = 0;

  bool operator==(const subscriber&) const = default;
  bool owns(std::string_view other_aor) const; // its own or an alias
};

std::string encode(const subscriber& s); // msgpack, positional
result<subscriber> decode_subscriber(std::string_view bytes);

// ---- making them; `aor` is canonical. All pure, any thread.
subscriber make_subscriber(std::string_view aor, std::string_view password, unix_ms now);
// From hashes of `user` in hex, as other servers keep them; one of the two may be empty.
outcome<subscriber> make_subscriber_from_ha1(std::string_view aor, std::string_view md5_hex,
                                             std::string_view sha256_hex, unix_ms now);
// New hashes, all else stays (`skald user passwd`).
void set_password(subscriber& s, std::string_view password);

// "alice", "alice@example.com", "sip:alice@example.com" as a person writes it → the canonical AoR.
outcome<std::string> read_aor(std::string_view text, std::string_view default_domain);
std::string_view user_of(std::string_view aor);   // between "sip:" and the last '@'
std::string_view domain_of(std::string_view aor);
outcome<void> check_password(std::string_view password);

// ---- what the control room hands to store_api::put() for table::subscribers under key_of_aor(s.aor).
dht::change put_subscriber(const subscriber& s);
dht::change delete_subscriber();
// The record among those of its key; nullopt: none, or unreadable.
std::optional<subscriber> subscriber_in(std::span<const dht::record> records);
// For a put over what was read (dht::change::made_from).
std::uint64_t condition_in(std::span<const dht::record> records);

} // namespace skald::roles
