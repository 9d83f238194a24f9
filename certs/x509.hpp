#pragma once
// Owning handles over GnuTLS's X.509 objects, and what is read out of a certificate. For this room; others use
// bundle.hpp, peer.hpp and signature.hpp.
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

struct crt_deleter { void operator()(gnutls_x509_crt_t c) const { gnutls_x509_crt_deinit(c); } };
struct key_deleter { void operator()(gnutls_x509_privkey_t k) const { gnutls_x509_privkey_deinit(k); } };
struct pubkey_deleter { void operator()(gnutls_pubkey_t k) const { gnutls_pubkey_deinit(k); } };
struct privkey_deleter { void operator()(gnutls_privkey_t k) const { gnutls_privkey_deinit(k); } };
struct crl_deleter { void operator()(gnutls_x509_crl_t c) const { gnutls_x509_crl_deinit(c); } };
using crt_ptr = std::unique_ptr<std::remove_pointer_t<gnutls_x509_crt_t>, crt_deleter>;
using key_ptr = std::unique_ptr<std::remove_pointer_t<gnutls_x509_privkey_t>, key_deleter>;
using pubkey_ptr = std::unique_ptr<std::remove_pointer_t<gnutls_pubkey_t>, pubkey_deleter>;
using privkey_ptr = std::unique_ptr<std::remove_pointer_t<gnutls_privkey_t>, privkey_deleter>;
using crl_ptr = std::unique_ptr<std::remove_pointer_t<gnutls_x509_crl_t>, crl_deleter>;

crt_ptr new_crt();
key_ptr new_key();

gnutls_datum_t datum(std::string_view bytes); // a view; GnuTLS does not write to it
std::string take(gnutls_datum_t& owned);      // copies and frees what GnuTLS allocated

result<crt_ptr> import_crt(std::string_view der);
result<key_ptr> import_key(std::string_view pkcs8_der);
std::string der_of(gnutls_x509_crt_t crt);

// The Subject Alternative Names of the two types that skald uses.
struct alt_names {
  std::vector<std::string> dns, uris;
};
alt_names alt_names_of(gnutls_x509_crt_t crt);

std::string serial_of(gnutls_x509_crt_t crt);          // hex
std::string common_name_of(gnutls_x509_crt_t crt, bool issuer);
std::string fingerprint_of(gnutls_x509_crt_t crt);     // SHA-256 of the DER, hex
unix_ms not_before_of(gnutls_x509_crt_t crt);
unix_ms not_after_of(gnutls_x509_crt_t crt);
bool has_purpose(gnutls_x509_crt_t crt, std::string_view oid);
bool is_ca(gnutls_x509_crt_t crt);
bool signed_by(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca);

// OpenDHT's node id: SHA-1 of "node:" and the hex form of SHA-1 of the SubjectPublicKeyInfo. A renewed certificate
// with the same key keeps it.
result<node_id> node_id_of(gnutls_x509_crt_t crt);

std::string date_text(unix_ms t); // RFC 3339 UTC with seconds

} // namespace skald::certs
