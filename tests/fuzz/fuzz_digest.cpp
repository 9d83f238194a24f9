// Authorization and challenge values: parsing, what is computed from them, nonces and nc windows.
#include "sip/auth/challenge.hpp"
#include "sip/auth/nc_window.hpp"
#include "sip/auth/nonce.hpp"

using namespace skald;
using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const key_ring keys({{.id = 1, .made = 0, .secret = std::string(32, 'k')}});
  static const subscriber_hashes known = hashes_of_password("alice", "example.com", "secret");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto c = parse_digest_credentials(text)) {
    // Nobody finds a right response by accident.
    SKALD_ASSERT(!digest_verify(*c, c->realm, "REGISTER", &known));
    SKALD_ASSERT(!digest_verify(*c, "example.com", "REGISTER", nullptr));
    digest_uri_fits(c->uri, "sip:alice@example.com");
    SKALD_ASSERT(check_nonce(c->nonce, keys, 1'000'000, c->realm).verdict != nonce_verdict::fresh);
  }
  if (const auto c = parse_digest_challenge(text)) {
    const auto again = parse_digest_challenge(to_string(*c));
    SKALD_ASSERT(again && again->algorithm == c->algorithm && again->stale == c->stale);
  }
  realm_of(text);
  if (auto w = nc_window::decode(text)) {
    SKALD_ASSERT(nc_window::decode(w->encode()) == *w);
    w->take(5);
    SKALD_ASSERT(w->look(5) == nc_verdict::used);
  }
  return 0;
}
