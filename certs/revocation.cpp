#include "certs/revocation.hpp"

#include "base/encoding.hpp"
#include "certs/x509.hpp"

namespace skald::certs {
namespace {

// Signed by this CA; however old: a revocation holds for good.
bool is_signed(gnutls_x509_crl_t crl, gnutls_x509_crt_t ca) {
  if (gnutls_x509_crl_check_issuer(crl, ca) != 1) return false;
  constexpr unsigned times = GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
  unsigned status = 0;
  if (gnutls_x509_crl_verify(crl, &ca, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) != 0) return false;
  return (status & ~(times | GNUTLS_CERT_INVALID)) == 0 && status != GNUTLS_CERT_INVALID;
}

} // namespace

result<revocation_list> read_revocations(std::string_view crl_der, std::string_view ca_der) {
  if (crl_der.size() > crl_bytes_max) return std::unexpected(errc::too_large);
  gnutls_x509_crl_t raw = nullptr;
  SKALD_ASSERT(gnutls_x509_crl_init(&raw) == 0);
  const crl_ptr crl(raw);
  const auto data = datum(crl_der);
  const auto ca = import_crt(ca_der);
  if (!ca || gnutls_x509_crl_import(raw, &data, GNUTLS_X509_FMT_DER) != 0) return std::unexpected(errc::malformed);
  if (!is_signed(raw, ca->get())) return std::unexpected(errc::not_authentic);
  revocation_list out;
  unsigned char number[20];
  std::size_t size = sizeof number;
  if (gnutls_x509_crl_get_number(raw, number, &size, nullptr) != 0) return std::unexpected(errc::malformed);
  for (std::size_t i = 0; i < size; ++i) {
    if (out.number >> 55 != 0) return std::unexpected(errc::malformed); // no time in ms
    out.number = out.number << 8 | number[i];
  }
  const int count = gnutls_x509_crl_get_crt_count(raw);
  for (int i = 0; i < count; ++i) {
    unsigned char serial[64];
    std::size_t length = sizeof serial;
    time_t at = 0;
    if (gnutls_x509_crl_get_crt_serial(raw, static_cast<unsigned>(i), serial, &length, &at) != 0) return std::unexpected(errc::malformed);
    out.serials.push_back(to_hex({reinterpret_cast<const char*>(serial), length}));
  }
  return out;
}

} // namespace skald::certs
