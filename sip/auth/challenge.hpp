#pragma once
// Challenges (RFC 7616 §3.3, RFC 8760): the value of WWW-Authenticate and Proxy-Authenticate, one line each.
#include "sip/auth/digest.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::sip {

enum class staleness : std::uint8_t { not_stale, stale };

struct digest_challenge {
  std::string realm;
  std::string nonce;
  digest_algorithm algorithm = digest_algorithm::md5;
  staleness stale = staleness::not_stale;
  std::string opaque{};
  bool qop_auth = true; // always in ours; others may offer none
};

// qop="auth", which we always offer.
std::string to_string(const digest_challenge& c);

// unsupported: another scheme, an algorithm that is not spoken, or auth-int alone.
result<digest_challenge> parse_digest_challenge(std::string_view value);

// Which algorithms to challenge with, best first: of the domain's setting those that the subscriber has a hash of; if
// there are none, those that he has. A stranger gets the setting, as if he existed (sip.md §3).
std::vector<digest_algorithm> algorithms_to_offer(std::span<const digest_algorithm> setting,
                                                  const subscriber_hashes* known);

} // namespace skald::sip
