#include "sip/auth/challenge.hpp"

#include "base/encoding.hpp"
#include "sip/message/auth_params.hpp"
#include "sip/message/params.hpp"

#include <algorithm>

namespace skald::sip {

std::string to_string(const digest_challenge& c) {
  std::string out = "Digest realm=" + quote(c.realm) + ", nonce=" + quote(c.nonce);
  out.append(", algorithm=").append(to_string(c.algorithm)); // not quoted (RFC 7616 §3.3)
  if (c.qop_auth) out += ", qop=\"auth\"";                   // quoted here, not in credentials
  if (!c.opaque.empty()) out += ", opaque=" + quote(c.opaque);
  if (c.stale == staleness::stale) out += ", stale=true";
  return out;
}

result<digest_challenge> parse_digest_challenge(std::string_view value) {
  const auto in = parse_auth_params(value);
  if (!in) return std::unexpected(in.error());
  if (!equal_nocase(in->scheme, "Digest")) return std::unexpected(errc::unsupported);
  const auto realm = in->get("realm");
  const auto nonce = in->get("nonce");
  if (!realm || !nonce) return std::unexpected(errc::missing);
  digest_challenge out{.realm = unquote(*realm), .nonce = unquote(*nonce), .qop_auth = false};
  if (const auto opaque = in->get("opaque")) out.opaque = unquote(*opaque);
  if (const auto stale = in->get("stale"); stale && equal_nocase(*stale, "true")) out.stale = staleness::stale;
  if (const auto name = in->get("algorithm")) {
    const auto a = digest_algorithm_from(*name);
    if (!a) return std::unexpected(errc::unsupported);
    out.algorithm = *a;
  }
  if (const auto qop = in->get("qop")) {
    const auto offered = split_top_level(*qop, ',');
    out.qop_auth = std::ranges::any_of(offered, [](std::string_view q) { return equal_nocase(q, "auth"); });
    if (!out.qop_auth) return std::unexpected(errc::unsupported);
  }
  return out;
}

std::vector<digest_algorithm> algorithms_to_offer(std::span<const digest_algorithm> setting,
                                                  const subscriber_hashes* known) {
  std::vector<digest_algorithm> out;
  const auto offer = [&](digest_algorithm a) {
    if (std::ranges::find(out, a) == out.end()) out.push_back(a);
  };
  for (const digest_algorithm a : setting)
    if (!known || known->has(a)) offer(a);
  if (out.empty() && known)
    for (const auto a : {digest_algorithm::sha256, digest_algorithm::md5})
      if (known->has(a)) offer(a);
  if (out.empty()) offer(digest_algorithm::md5); // nobody is left without a challenge
  return out;
}

} // namespace skald::sip
