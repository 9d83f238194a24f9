#include "certs/x509.hpp"

#include "base/crypto.hpp"

#include <ctime>
#include <fmt/format.h>

namespace skald::certs {

crt_ptr new_crt() {
  gnutls_x509_crt_t raw = nullptr;
  SKALD_ASSERT(gnutls_x509_crt_init(&raw) == 0);
  return crt_ptr(raw);
}

key_ptr new_key() {
  gnutls_x509_privkey_t raw = nullptr;
  SKALD_ASSERT(gnutls_x509_privkey_init(&raw) == 0);
  return key_ptr(raw);
}

gnutls_datum_t datum(std::string_view bytes) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())), static_cast<unsigned>(bytes.size())};
}

std::string take(gnutls_datum_t& owned) {
  std::string out(reinterpret_cast<const char*>(owned.data), owned.size);
  gnutls_free(owned.data);
  owned = {};
  return out;
}

result<crt_ptr> import_crt(std::string_view der) {
  auto crt = new_crt();
  const auto data = datum(der);
  if (gnutls_x509_crt_import(crt.get(), &data, GNUTLS_X509_FMT_DER) != 0) return std::unexpected(errc::malformed);
  return crt;
}

result<key_ptr> import_key(std::string_view pkcs8_der) {
  auto key = new_key();
  const auto data = datum(pkcs8_der);
  if (gnutls_x509_privkey_import_pkcs8(key.get(), &data, GNUTLS_X509_FMT_DER, nullptr, GNUTLS_PKCS_PLAIN) != 0)
    return std::unexpected(errc::malformed);
  return key;
}

std::string der_of(gnutls_x509_crt_t crt) {
  gnutls_datum_t out{};
  SKALD_ASSERT(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &out) == 0);
  return take(out);
}

alt_names alt_names_of(gnutls_x509_crt_t crt) {
  alt_names out;
  for (unsigned i = 0;; ++i) {
    char text[512];
    std::size_t size = sizeof text;
    // The result is the TYPE of the name (URI = 3), or negative.
    const int type = gnutls_x509_crt_get_subject_alt_name(crt, i, text, &size, nullptr);
    if (type == GNUTLS_E_SHORT_MEMORY_BUFFER) continue; // longer than any name of ours
    if (type < 0) return out;
    if (type == GNUTLS_SAN_DNSNAME) out.dns.emplace_back(text, size);
    if (type == GNUTLS_SAN_URI) out.uris.emplace_back(text, size);
  }
}

std::string serial_of(gnutls_x509_crt_t crt) {
  char raw[64];
  std::size_t size = sizeof raw;
  if (gnutls_x509_crt_get_serial(crt, raw, &size) != 0) return {};
  return to_hex({raw, size});
}

std::string common_name_of(gnutls_x509_crt_t crt, bool issuer) {
  char text[256];
  std::size_t size = sizeof text;
  const auto get = issuer ? gnutls_x509_crt_get_issuer_dn_by_oid : gnutls_x509_crt_get_dn_by_oid;
  if (get(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, text, &size) != 0) return {};
  return {text, size};
}

std::string fingerprint_of(gnutls_x509_crt_t crt) { return to_hex(crypto::sha256(der_of(crt))); }

unix_ms not_before_of(gnutls_x509_crt_t crt) { return unix_ms{gnutls_x509_crt_get_activation_time(crt)} * 1000; }
unix_ms not_after_of(gnutls_x509_crt_t crt) { return unix_ms{gnutls_x509_crt_get_expiration_time(crt)} * 1000; }

bool has_purpose(gnutls_x509_crt_t crt, std::string_view oid) {
  for (unsigned i = 0;; ++i) {
    char text[128];
    std::size_t size = sizeof text;
    const int rc = gnutls_x509_crt_get_key_purpose_oid(crt, i, text, &size, nullptr);
    if (rc == GNUTLS_E_SHORT_MEMORY_BUFFER) continue;
    if (rc < 0) return false;
    if (std::string_view(text) == oid) return true;
  }
}

bool is_ca(gnutls_x509_crt_t crt) { return gnutls_x509_crt_get_ca_status(crt, nullptr) > 0; }

bool signed_by(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca) {
  unsigned status = 0;
  // Times are judged by the caller, against a clock that is handed in.
  const unsigned flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS;
  return gnutls_x509_crt_verify(crt, &ca, 1, flags, &status) == 0 && status == 0;
}

result<node_id> node_id_of(gnutls_x509_crt_t crt) {
  gnutls_pubkey_t raw = nullptr;
  if (gnutls_pubkey_init(&raw) != 0) return std::unexpected(errc::malformed);
  const pubkey_ptr key(raw);
  if (gnutls_pubkey_import_x509(key.get(), crt, 0) != 0) return std::unexpected(errc::malformed);
  unsigned char id[20];
  std::size_t size = sizeof id;
  if (gnutls_pubkey_get_key_id(key.get(), GNUTLS_KEYID_USE_SHA1, id, &size) != 0 || size != sizeof id)
    return std::unexpected(errc::malformed);
  const std::string hex = to_hex({reinterpret_cast<const char*>(id), size});
  return node_id::from_bytes(crypto::sha1("node:" + hex));
}

std::string date_text(unix_ms t) {
  const std::time_t s = static_cast<std::time_t>(t / 1000);
  std::tm parts{};
  gmtime_r(&s, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

} // namespace skald::certs
