#pragma once
// A directory that is gone when the test ends, and bundles taken apart and put together wrongly.
#include "base/encoding.hpp"
#include "certs/authority.hpp"
#include "certs/bundle.hpp"
#include "certs/files.hpp"
#include "certs/pem.hpp"
#include "certs/x509.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>

namespace skald::test {

inline constexpr unix_ms today = 1'800'000'000'000;
inline constexpr unix_ms one_day = 24LL * 3600 * 1000;

class scratch {
public:
  scratch() {
    char pattern[] = "/tmp/skald-test-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + '/' + name; }
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

inline std::string write_bundle(const std::string& path, const std::vector<certs::pem_block>& blocks, mode_t mode = 0600) {
  std::string text;
  for (const auto& b : blocks) text += certs::pem_encode(b.label, b.bytes);
  std::filesystem::remove(path);
  (void)certs::write_new_file(path, text, mode);
  return path;
}

inline std::vector<certs::pem_block> blocks_of(const std::string& path) {
  return certs::pem_decode(certs::read_file(path).value()).value();
}

// A certificate with a node's key and names, signed by the CA in `directory`, for one purpose only.
inline std::string one_purpose_certificate(const std::string& directory, const certs::bundle& of, unix_ms now) {
  using namespace certs;
  const auto ca = import_crt(pem_decode(read_file(directory + "/ca.pem").value()).value()[0].bytes).value();
  const auto ca_key = import_key(pem_decode(read_file(directory + "/ca.key").value()).value()[0].bytes).value();
  const auto key = import_key(of.key).value();
  const auto crt = new_crt();
  const std::string sip = "sip:" + of.domain, host = of.name + '.' + of.domain;
  gnutls_x509_crt_set_version(crt.get(), 3);
  gnutls_x509_crt_set_serial(crt.get(), "\x01\x02", 2);
  gnutls_x509_crt_set_activation_time(crt.get(), now / 1000 - 60);
  gnutls_x509_crt_set_expiration_time(crt.get(), now / 1000 + 3600);
  gnutls_x509_crt_set_key(crt.get(), key.get());
  gnutls_x509_crt_set_subject_alt_name(crt.get(), GNUTLS_SAN_DNSNAME, host.data(), static_cast<unsigned>(host.size()), GNUTLS_FSAN_APPEND);
  gnutls_x509_crt_set_subject_alt_name(crt.get(), GNUTLS_SAN_URI, sip.data(), static_cast<unsigned>(sip.size()), GNUTLS_FSAN_APPEND);
  gnutls_x509_crt_set_key_purpose_oid(crt.get(), GNUTLS_KP_TLS_WWW_SERVER, 0);
  gnutls_x509_crt_sign2(crt.get(), ca.get(), ca_key.get(), GNUTLS_DIG_SHA256, 0);
  return der_of(crt.get());
}

// A CRL of the CA in `directory` that names the certificate of `whom`.
inline std::string revocation_of(const std::string& directory, const certs::bundle& whom, unix_ms now) {
  using namespace certs;
  const auto ca = import_crt(pem_decode(read_file(directory + "/ca.pem").value()).value()[0].bytes).value();
  const auto ca_key = import_key(pem_decode(read_file(directory + "/ca.key").value()).value()[0].bytes).value();
  const auto crt = import_crt(whom.certificate).value();
  gnutls_x509_crl_t raw = nullptr;
  gnutls_x509_crl_init(&raw);
  const crl_ptr crl(raw);
  gnutls_x509_crl_set_version(raw, 2);
  gnutls_x509_crl_set_this_update(raw, now / 1000);
  gnutls_x509_crl_set_next_update(raw, now / 1000 + 3600);
  gnutls_x509_crl_set_number(raw, "\x01", 1);
  gnutls_x509_crl_set_crt(raw, crt.get(), now / 1000);
  gnutls_x509_crl_sign2(raw, ca.get(), ca_key.get(), GNUTLS_DIG_SHA256, 0);
  gnutls_datum_t out{};
  gnutls_x509_crl_export2(raw, GNUTLS_X509_FMT_DER, &out);
  return take(out);
}

} // namespace skald::test
