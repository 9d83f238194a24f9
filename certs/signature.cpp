#include "certs/signature.hpp"

#include "certs/x509.hpp"

namespace skald::certs {

std::string sign(const bundle& author, std::string_view data) {
  auto key = import_key(author.key);
  SKALD_ASSERT(key.has_value()); // read_bundle has imported it once
  gnutls_privkey_t raw = nullptr;
  SKALD_ASSERT(gnutls_privkey_init(&raw) == 0);
  const privkey_ptr signer(raw);
  SKALD_ASSERT(gnutls_privkey_import_x509(raw, key->get(), GNUTLS_PRIVKEY_IMPORT_COPY) == 0);
  const auto input = datum(data);
  gnutls_datum_t out{};
  SKALD_ASSERT(gnutls_privkey_sign_data2(raw, GNUTLS_SIGN_ECDSA_SHA256, 0, &input, &out) == 0);
  return take(out);
}

result<void> verify(std::string_view certificate_der, std::string_view data, std::string_view signature) {
  const auto crt = import_crt(certificate_der);
  if (!crt) return std::unexpected(errc::malformed);
  gnutls_pubkey_t raw = nullptr;
  SKALD_ASSERT(gnutls_pubkey_init(&raw) == 0);
  const pubkey_ptr key(raw);
  if (gnutls_pubkey_import_x509(raw, crt->get(), 0) != 0) return std::unexpected(errc::malformed);
  const auto input = datum(data), given = datum(signature);
  if (gnutls_pubkey_verify_data2(raw, GNUTLS_SIGN_ECDSA_SHA256, 0, &input, &given) < 0) return std::unexpected(errc::not_authentic);
  return {};
}

} // namespace skald::certs
