#include "certs/sip_peer.hpp"

#include "base/encoding.hpp"
#include "certs/x509.hpp"

#include <algorithm>

namespace skald::certs {
namespace {

constexpr const char* sip_domain_purpose = "1.3.6.1.5.5.7.3.20"; // id-kp-sipDomain, RFC 5924 §3

// RFC 5922 §7.1: the host of a sip: URI; one with a user part names a person, not a domain.
std::string domain_of_uri(std::string_view uri) {
  constexpr std::string_view scheme = "sip:";
  if (uri.size() <= scheme.size() || !equal_nocase(uri.substr(0, scheme.size()), scheme)) return {};
  uri.remove_prefix(scheme.size());
  if (uri.find('@') != std::string_view::npos) return {};
  return to_lower(uri.substr(0, uri.find_first_of(":;?/")));
}

// RFC 5922 §7.2: no wildcard of any form, neither "*." nor a leading dot.
bool names_one_host(std::string_view name) {
  return !name.empty() && name.front() != '.' && name.find_first_of(std::string_view("*\0[", 3)) == std::string_view::npos;
}

std::vector<std::string> identities_of(gnutls_x509_crt_t leaf) {
  alt_names alt = alt_names_of(leaf);
  std::vector<std::string> out;
  for (const std::string& uri : alt.uris)
    if (std::string d = domain_of_uri(uri); names_one_host(d) && out.size() < sip_names_max) out.push_back(std::move(d));
  if (!out.empty()) return out;
  for (const std::string& name : alt.dns)
    if (names_one_host(name) && out.size() < sip_names_max) out.push_back(to_lower(name));
  return out;
}

// RFC 5280 §4.2.1.3: a client proves that it has the key by a signature.
bool may_sign(gnutls_x509_crt_t crt) {
  unsigned usage = 0;
  if (gnutls_x509_crt_get_key_usage(crt, &usage, nullptr) < 0) return true; // no such extension
  return (usage & GNUTLS_KEY_DIGITAL_SIGNATURE) != 0;
}

sip_refusal refusal_of(unsigned status) {
  if ((status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED)) != 0) return sip_refusal::expired;
  if ((status & GNUTLS_CERT_PURPOSE_MISMATCH) != 0) return sip_refusal::wrong_usage;
  return sip_refusal::untrusted;
}

} // namespace

struct sip_anchors::impl {
  gnutls_x509_trust_list_t list = nullptr;
  crt_ptr own_ca;

  ~impl() {
    if (list != nullptr) gnutls_x509_trust_list_deinit(list, 1);
  }
  // 0 or what is wrong with it, for this purpose.
  unsigned verify(std::span<gnutls_x509_crt_t> chain, const char* purpose) const;
};

unsigned sip_anchors::impl::verify(std::span<gnutls_x509_crt_t> chain, const char* purpose) const {
  gnutls_typed_vdata_st data{};
  data.type = GNUTLS_DT_KEY_PURPOSE_OID;
  data.data = reinterpret_cast<unsigned char*>(const_cast<char*>(purpose));
  unsigned status = 0;
  const unsigned strength = GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_LOW);
  const int rc = gnutls_x509_trust_list_verify_crt2(list, chain.data(), static_cast<unsigned>(chain.size()), &data, 1, strength, &status, nullptr);
  return rc < 0 ? static_cast<unsigned>(GNUTLS_CERT_INVALID) : status;
}

sip_anchors::sip_anchors() : impl_(std::make_unique<impl>()) {}
sip_anchors::~sip_anchors() = default;

outcome<sip_anchors_ptr> sip_anchors::make(const std::string& pem, std::string_view own_ca) {
  auto own = import_crt(own_ca);
  if (!own) return std::unexpected(failure{"the cluster's CA certificate cannot be read", {}});
  std::shared_ptr<sip_anchors> out(new sip_anchors);
  out->impl_->own_ca = std::move(*own);
  SKALD_ASSERT(gnutls_x509_trust_list_init(&out->impl_->list, 0) == 0);
  if (pem.empty()) {
    // A machine without a CA store trusts nobody by name; that is no reason not to start.
    (void)gnutls_x509_trust_list_add_system_trust(out->impl_->list, 0, 0);
    return out;
  }
  const auto text = datum(pem);
  if (gnutls_x509_trust_list_add_trust_mem(out->impl_->list, &text, nullptr, GNUTLS_X509_FMT_PEM, 0, 0) <= 0)
    return std::unexpected(failure{"holds no certificate that can be read", "give the CAs of your peers as PEM"});
  return out;
}

std::expected<sip_peer, sip_refusal> sip_anchors::judge(std::span<const std::string> chain, sip_end shown_by) const {
  std::vector<crt_ptr> owned;
  std::vector<gnutls_x509_crt_t> crts;
  for (const std::string& der : chain.first(std::min(chain.size(), sip_chain_max))) {
    auto crt = import_crt(der);
    if (!crt) return std::unexpected(sip_refusal::unreadable);
    crts.push_back(crt->get());
    owned.push_back(std::move(*crt));
  }
  if (crts.empty()) return std::unexpected(sip_refusal::unreadable);
  // The machine's store may hold the cluster's CA too, for the phones on it.
  if (signed_by(crts.front(), impl_->own_ca.get())) return std::unexpected(sip_refusal::own_cluster);
  const char* tls = shown_by == sip_end::client ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
  unsigned status = impl_->verify(crts, tls);
  if ((status & GNUTLS_CERT_PURPOSE_MISMATCH) != 0) status = impl_->verify(crts, sip_domain_purpose); // RFC 5924 §4
  if (status != 0) return std::unexpected(refusal_of(status));
  if (shown_by == sip_end::client && !may_sign(crts.front())) return std::unexpected(sip_refusal::wrong_usage);
  sip_peer out{.names = identities_of(crts.front()), .until = not_after_of(crts.front())};
  for (const gnutls_x509_crt_t c : crts) out.until = std::min(out.until, not_after_of(c));
  if (out.names.empty()) return std::unexpected(sip_refusal::nameless);
  return out;
}

std::vector<std::string> sip_identities(std::string_view certificate_der) {
  const auto crt = import_crt(certificate_der);
  return crt ? identities_of(crt->get()) : std::vector<std::string>{};
}

std::string_view to_string(sip_refusal r) {
  switch (r) {
  case sip_refusal::unreadable: return "it cannot be read";
  case sip_refusal::own_cluster: return "it is by the cluster's own CA";
  case sip_refusal::untrusted: return "its chain ends at no CA that is trusted for peers";
  case sip_refusal::expired: return "it has expired, or is not valid yet";
  case sip_refusal::wrong_usage: return "its extended key usage does not allow it";
  case sip_refusal::nameless: return "it names no SIP domain";
  }
  return "?";
}

} // namespace skald::certs
