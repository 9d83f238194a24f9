#include "certs/peer.hpp"

#include "base/encoding.hpp"
#include "certs/bundle.hpp"
#include "certs/x509.hpp"

namespace skald::certs {
namespace {

bool is_revoked(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca, std::string_view crl_der) {
  gnutls_x509_crl_t raw = nullptr;
  SKALD_ASSERT(gnutls_x509_crl_init(&raw) == 0);
  const crl_ptr crl(raw);
  const auto data = datum(crl_der);
  if (gnutls_x509_crl_import(crl.get(), &data, GNUTLS_X509_FMT_DER) != 0) return false;
  if (gnutls_x509_crl_check_issuer(crl.get(), ca) != 1) return false;
  // A revocation holds however old its list is, so what the library says of the list's times is passed over.
  constexpr unsigned times = GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
  unsigned status = 0;
  if (gnutls_x509_crl_verify(crl.get(), &ca, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) != 0) return false;
  if ((status & ~(times | GNUTLS_CERT_INVALID)) != 0 || status == GNUTLS_CERT_INVALID) return false;
  return gnutls_x509_crt_check_revocation(crt, &raw, 1) == 1;
}

} // namespace

std::string_view to_string(refusal r) {
  switch (r) {
  case refusal::no_certificate: return "no certificate";
  case refusal::foreign_ca: return "a certificate of another CA";
  case refusal::expired: return "an expired certificate";
  case refusal::not_yet_valid: return "a certificate that is not yet valid";
  case refusal::wrong_usage: return "a certificate that is not for nodes";
  case refusal::revoked: return "a revoked certificate";
  }
  return "?";
}

std::expected<peer, refusal> check_peer(std::span<const std::string_view> chain, const trust& against, unix_ms now) {
  if (chain.empty()) return std::unexpected(refusal::no_certificate);
  const auto crt = import_crt(chain.front()), ca = import_crt(against.ca);
  if (!crt || !ca || !signed_by(crt->get(), ca->get())) return std::unexpected(refusal::foreign_ca);
  if (is_ca(crt->get()) || !has_purpose(crt->get(), GNUTLS_KP_TLS_WWW_SERVER) || !has_purpose(crt->get(), GNUTLS_KP_TLS_WWW_CLIENT))
    return std::unexpected(refusal::wrong_usage);
  auto who = subject_of(chain.front());
  const auto id = node_id_of(crt->get());
  if (!who || !id || who->domain != against.domain) return std::unexpected(refusal::wrong_usage);
  if (now < not_before_of(crt->get())) return std::unexpected(refusal::not_yet_valid);
  if (now > not_after_of(crt->get()) || now > not_after_of(ca->get())) return std::unexpected(refusal::expired);
  if (!against.crl.empty() && is_revoked(crt->get(), ca->get(), against.crl)) return std::unexpected(refusal::revoked);
  return peer{*id, std::move(who->name), std::move(who->roles), not_after_of(crt->get()), serial_of(crt->get())};
}

} // namespace skald::certs
