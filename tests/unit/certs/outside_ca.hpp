#pragma once
// A CA that is not a cluster's, and the certificates of gateways and other operators' servers under it.
#include "certs/pem.hpp"
#include "certs/x509.hpp"

#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace skald::test {

struct outside_certificate {
  std::string der, key; // key: PKCS#8 DER
  std::string chain_pem() const { return certs::pem_encode("CERTIFICATE", der); }
  std::string key_pem() const { return certs::pem_encode("PRIVATE KEY", key); }
};

struct certificate_wish {
  std::vector<std::string> uris{}, dns{};
  std::vector<std::string> purposes{GNUTLS_KP_TLS_WWW_SERVER, GNUTLS_KP_TLS_WWW_CLIENT}; // empty: no such extension
  int from_s = -3600, until_s = 3600;                                                    // from now
  bool ca = false;
  unsigned key_usage = 0; // 0: no such extension
};

class outside_ca {
public:
  outside_ca() : key_(make_key()), crt_(make({.purposes = {}, .ca = true}, key_.get(), nullptr)) {}

  std::string der() const { return certs::der_of(crt_.get()); }
  std::string pem() const { return certs::pem_encode("CERTIFICATE", der()); }
  outside_certificate issue(const certificate_wish& w) const {
    const auto key = make_key();
    const auto crt = make(w, key.get(), this);
    gnutls_datum_t out{};
    gnutls_x509_privkey_export2_pkcs8(key.get(), GNUTLS_X509_FMT_DER, nullptr, GNUTLS_PKCS_PLAIN, &out);
    return {certs::der_of(crt.get()), certs::take(out)};
  }

private:
  static certs::key_ptr make_key() {
    auto key = certs::new_key();
    gnutls_x509_privkey_generate(key.get(), GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    return key;
  }
  static certs::crt_ptr make(const certificate_wish& w, gnutls_x509_privkey_t key, const outside_ca* by) {
    static unsigned char serial[] = {1, 0};
    ++serial[1];
    auto crt = certs::new_crt();
    const std::string name = w.ca ? "Outside CA" : "somebody";
    const auto add = [&](gnutls_x509_subject_alt_name_t type, const std::string& text) {
      gnutls_x509_crt_set_subject_alt_name(crt.get(), type, text.data(), static_cast<unsigned>(text.size()), GNUTLS_FSAN_APPEND);
    };
    gnutls_x509_crt_set_version(crt.get(), 3);
    gnutls_x509_crt_set_serial(crt.get(), serial, sizeof serial);
    gnutls_x509_crt_set_dn_by_oid(crt.get(), GNUTLS_OID_X520_COMMON_NAME, 0, name.data(), static_cast<unsigned>(name.size()));
    gnutls_x509_crt_set_activation_time(crt.get(), std::time(nullptr) + w.from_s);
    gnutls_x509_crt_set_expiration_time(crt.get(), std::time(nullptr) + w.until_s);
    gnutls_x509_crt_set_key(crt.get(), key);
    gnutls_x509_crt_set_basic_constraints(crt.get(), w.ca ? 1 : 0, -1);
    if (w.key_usage != 0) gnutls_x509_crt_set_key_usage(crt.get(), w.key_usage);
    for (const std::string& u : w.uris) add(GNUTLS_SAN_URI, u);
    for (const std::string& d : w.dns) add(GNUTLS_SAN_DNSNAME, d);
    for (const std::string& p : w.purposes) gnutls_x509_crt_set_key_purpose_oid(crt.get(), p.c_str(), 0);
    gnutls_x509_crt_sign2(crt.get(), by != nullptr ? by->crt_.get() : crt.get(), by != nullptr ? by->key_.get() : key, GNUTLS_DIG_SHA256, 0);
    return crt;
  }

  certs::key_ptr key_;
  certs::crt_ptr crt_;
};

} // namespace skald::test
