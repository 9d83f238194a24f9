#include "sip/auth/digest.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "sip/message/uri.hpp"

#include <initializer_list>

namespace skald::sip {

namespace {

std::string hash_hex(digest_algorithm a, std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view* p = parts.begin(); p != parts.end(); ++p) {
    if (p != parts.begin()) text += ':';
    text += *p;
  }
  switch (a) {
  case digest_algorithm::md5:
    return to_hex(crypto::md5(text));
  case digest_algorithm::sha256:
    return to_hex(crypto::sha256(text));
  }
  return {};
}

std::string_view hash_of(const subscriber_hashes& h, digest_algorithm a, username_form form) {
  switch (a) {
  case digest_algorithm::md5:
    return form == username_form::user ? h.md5_user : h.md5_user_at_realm;
  case digest_algorithm::sha256:
    return form == username_form::user ? h.sha256_user : h.sha256_user_at_realm;
  }
  return {};
}

// Hashed against when there is no such subscriber or no such hash, so that the answer takes its time all the same.
std::string_view dummy(digest_algorithm a) {
  static const std::string md5(32, '0'), sha256(64, '0');
  return a == digest_algorithm::md5 ? md5 : sha256;
}

} // namespace

std::string digest_ha1(digest_algorithm a, std::string_view username, std::string_view realm,
                       std::string_view password) {
  return hash_hex(a, {username, realm, password});
}

std::string digest_response(const digest_credentials& c, std::string_view ha1, std::string_view method) {
  const std::string ha2 = hash_hex(c.algorithm, {method, c.uri});
  switch (c.qop) {
  case digest_qop::none:
    return hash_hex(c.algorithm, {ha1, c.nonce, ha2}); // RFC 2617 §3.2.2.1
  case digest_qop::auth:
    return hash_hex(c.algorithm, {ha1, c.nonce, c.nc_text, c.cnonce, "auth", ha2});
  case digest_qop::auth_int:
    return {}; // needs the body; we never offer it
  }
  return {};
}

bool subscriber_hashes::has(digest_algorithm a) const {
  return !hash_of(*this, a, username_form::user).empty() || !hash_of(*this, a, username_form::user_at_realm).empty();
}

subscriber_hashes hashes_of_password(std::string_view user, std::string_view realm, std::string_view password) {
  const std::string at = std::string(user).append("@").append(realm);
  return {.md5_user = digest_ha1(digest_algorithm::md5, user, realm, password),
          .md5_user_at_realm = digest_ha1(digest_algorithm::md5, at, realm, password),
          .sha256_user = digest_ha1(digest_algorithm::sha256, user, realm, password),
          .sha256_user_at_realm = digest_ha1(digest_algorithm::sha256, at, realm, password)};
}

digest_username split_username(std::string_view username, std::string_view realm) {
  const auto at = username.rfind('@');
  if (at == std::string_view::npos || !equal_nocase(username.substr(at + 1), realm))
    return {username, username_form::user};
  return {username.substr(0, at), username_form::user_at_realm};
}

bool digest_verify(const digest_credentials& c, std::string_view realm, std::string_view method,
                   const subscriber_hashes* known) {
  const std::string_view stored =
      known ? hash_of(*known, c.algorithm, split_username(c.username, realm).form) : std::string_view{};
  const std::string right = digest_response(c, stored.empty() ? dummy(c.algorithm) : stored, method);
  const bool same = right.size() == c.response.size() && crypto::equal_constant_time(right, to_lower(c.response));
  return same && !right.empty() && !stored.empty() && c.realm == realm;
}

bool digest_uri_fits(std::string_view digest_uri, std::string_view request_uri) {
  const auto a = parse_uri(digest_uri), b = parse_uri(request_uri);
  return a && b && unescape(a->user) == unescape(b->user) && equal_nocase(a->host, b->host);
}

} // namespace skald::sip
