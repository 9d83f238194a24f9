#include "sip/auth/credentials.hpp"

#include "base/encoding.hpp"
#include "sip/message/auth_params.hpp"
#include "sip/message/params.hpp"

#include <algorithm>

namespace skald::sip {

namespace {

bool is_hex(std::string_view s) {
  return std::ranges::all_of(s, [](char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f'); });
}

// RFC 7616 §3.4: exactly eight hex digits
result<std::uint32_t> parse_nc(std::string_view text) {
  if (text.size() != 8 || !is_hex(text)) return std::unexpected(errc::malformed);
  return get_be<std::uint32_t>(*from_hex(to_lower(text)));
}

result<digest_qop> parse_qop(std::optional<std::string_view> text) {
  if (!text) return digest_qop::none;
  if (equal_nocase(*text, "auth")) return digest_qop::auth;
  if (equal_nocase(*text, "auth-int")) return digest_qop::auth_int;
  return std::unexpected(errc::unsupported);
}

result<void> take_qop(digest_credentials& out, const auth_params& in) {
  const auto qop = parse_qop(in.get("qop"));
  if (!qop) return std::unexpected(qop.error());
  out.qop = *qop;
  if (out.qop == digest_qop::none) return {};
  const auto nc = in.get("nc");
  const auto cnonce = in.get("cnonce");
  if (!nc || !cnonce) return std::unexpected(errc::missing); // RFC 7616 §3.4: both, if there is a qop
  const auto number = parse_nc(*nc);
  if (!number) return std::unexpected(number.error());
  out.nc = *number;
  out.nc_text = *nc;
  out.cnonce = unquote(*cnonce);
  return {};
}

} // namespace

std::string_view to_string(digest_algorithm a) {
  switch (a) {
  case digest_algorithm::md5:
    return "MD5";
  case digest_algorithm::sha256:
    return "SHA-256";
  }
  return {};
}

std::optional<digest_algorithm> digest_algorithm_from(std::string_view text) {
  for (const auto a : {digest_algorithm::md5, digest_algorithm::sha256})
    if (equal_nocase(text, to_string(a))) return a;
  return std::nullopt;
}

result<digest_credentials> parse_digest_credentials(std::string_view value) {
  const auto in = parse_auth_params(value);
  if (!in) return std::unexpected(in.error());
  if (!equal_nocase(in->scheme, "Digest")) return std::unexpected(errc::unsupported);
  // RFC 7616's hidden names are not offered by us
  if (in->get("username*")) return std::unexpected(errc::unsupported);
  if (const auto hidden = in->get("userhash"); hidden && equal_nocase(*hidden, "true"))
    return std::unexpected(errc::unsupported);

  digest_credentials out;
  const auto take = [&](std::string& to, std::string_view name) {
    const auto found = in->get(name);
    if (found) to = unquote(*found);
    return found.has_value();
  };
  if (!take(out.username, "username") || !take(out.realm, "realm") || !take(out.nonce, "nonce") ||
      !take(out.uri, "uri") || !take(out.response, "response"))
    return std::unexpected(errc::missing);
  take(out.opaque, "opaque");
  if (const auto name = in->get("algorithm")) {
    const auto a = digest_algorithm_from(*name);
    if (!a) return std::unexpected(errc::unsupported); // the -sess forms and SHA-512-256 too
    out.algorithm = *a;
  }
  if (out.response.size() != (out.algorithm == digest_algorithm::md5 ? 32u : 64u) || !is_hex(out.response))
    return std::unexpected(errc::malformed);
  if (const auto qop = take_qop(out, *in); !qop) return std::unexpected(qop.error());
  return out;
}

std::string realm_of(std::string_view auth_value_text) {
  const auto parsed = parse_auth_params(auth_value_text);
  const auto realm = parsed ? parsed->get("realm") : std::nullopt;
  return realm ? unquote(*realm) : std::string{};
}

} // namespace skald::sip
