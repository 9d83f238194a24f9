#include "certs/credentials.hpp"

#include "certs/x509.hpp"

namespace skald::certs {

credentials_ptr make_credentials(const bundle& b) {
  gnutls_certificate_credentials_t raw = nullptr;
  SKALD_ASSERT(gnutls_certificate_allocate_credentials(&raw) == 0);
  credentials_ptr out(raw, gnutls_certificate_free_credentials);
  const auto crt = import_crt(b.certificate), ca = import_crt(b.ca);
  const auto key = import_key(b.key);
  SKALD_ASSERT(crt && ca && key); // read_bundle has imported them once
  gnutls_x509_crt_t chain[] = {crt->get()}, anchors[] = {ca->get()};
  SKALD_ASSERT(gnutls_certificate_set_x509_key(raw, chain, 1, key->get()) >= 0);
  SKALD_ASSERT(gnutls_certificate_set_x509_trust(raw, anchors, 1) >= 0);
  return out;
}

trust trust_of(const bundle& b) { return {b.ca, b.domain}; }

std::expected<peer, refusal> check_session(gnutls_session_t session, const trust& against, unix_ms now) {
  if (gnutls_certificate_type_get2(session, GNUTLS_CTYPE_PEERS) != GNUTLS_CRT_X509) return std::unexpected(refusal::no_certificate);
  unsigned count = 0;
  const gnutls_datum_t* const raw = gnutls_certificate_get_peers(session, &count);
  std::vector<std::string_view> chain;
  if (raw && count > 0) chain.emplace_back(reinterpret_cast<const char*>(raw[0].data), raw[0].size);
  return check_peer(chain, against, now);
}

} // namespace skald::certs
