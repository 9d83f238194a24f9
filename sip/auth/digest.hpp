#pragma once
// Digest arithmetic (RFC 7616 §3.4, RFC 8760): hashes of subscribers, the response, and its check. Pure; any thread.
#include "sip/auth/credentials.hpp"

#include <string>
#include <string_view>

namespace skald::sip {

// H(username ":" realm ":" password) in lower-case hex. As good as the password for this realm: never logged.
std::string digest_ha1(digest_algorithm a, std::string_view username, std::string_view realm,
                       std::string_view password);

// What a phone would answer; `c`'s own response is not looked at.
std::string digest_response(const digest_credentials& c, std::string_view ha1, std::string_view method);

// What the cluster keeps of a subscriber. Phones send `user` or `user@realm` as username, so where the password was
// known there is a hash of either (sip.md §3); imported ones are of `user` alone. Empty: not there.
struct subscriber_hashes {
  std::string md5_user, md5_user_at_realm;
  std::string sha256_user, sha256_user_at_realm;
  bool operator==(const subscriber_hashes&) const = default;

  bool has(digest_algorithm a) const;
};
subscriber_hashes hashes_of_password(std::string_view user, std::string_view realm, std::string_view password);

// The two forms of a username. `user` is what stands before "@REALM", or the whole.
enum class username_form : std::uint8_t { user, user_at_realm };
struct digest_username {
  std::string_view user;
  username_form form = username_form::user;
};
digest_username split_username(std::string_view username, std::string_view realm);

// Whether the response is right for that subscriber; nullptr: there is none. Takes the same time whoever it is, and
// whatever of the response differs. Says nothing of the nonce, nor of `uri` (see digest_uri_fits).
bool digest_verify(const digest_credentials& c, std::string_view realm, std::string_view method,
                   const subscriber_hashes* known);

// Whether `uri` of the credentials names the user and the host of the Request-URI (sip.md §3; parameters and port may
// differ: proxies and phones add and drop them).
bool digest_uri_fits(std::string_view digest_uri, std::string_view request_uri);

} // namespace skald::sip
