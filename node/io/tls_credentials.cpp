#include "node/io/tls_credentials.hpp"

#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

namespace skald::node {
namespace {

gnutls_datum_t datum(const std::string& s) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(s.data())), static_cast<unsigned>(s.size())};
}

failure tls_failure(std::string_view what, int rc) {
  return {fmt::format("{}: {}", what, ::gnutls_strerror(rc)), {}};
}

struct entry {
  gnutls_certificate_credentials_t credentials = nullptr;
  gnutls_x509_crt_t leaf = nullptr; // nullptr: no identity, trust only

  entry() = default;
  entry(entry&& o) noexcept
      : credentials(std::exchange(o.credentials, nullptr)), leaf(std::exchange(o.leaf, nullptr)) {}
  entry& operator=(entry&&) = delete;
  ~entry() {
    if (credentials != nullptr) ::gnutls_certificate_free_credentials(credentials);
    if (leaf != nullptr) ::gnutls_x509_crt_deinit(leaf);
  }
};

outcome<void> add_trust(const entry& e, const std::string& trust, bool system_trust) {
  if (!trust.empty()) {
    const gnutls_datum_t d = datum(trust);
    if (const int rc = ::gnutls_certificate_set_x509_trust_mem(e.credentials, &d, GNUTLS_X509_FMT_PEM); rc < 0)
      return std::unexpected(tls_failure("a CA certificate cannot be read", rc));
  }
  // A machine without a CA store still reaches its own cluster.
  if (system_trust) ::gnutls_certificate_set_x509_system_trust(e.credentials);
  return {};
}

outcome<void> add_identity(entry& e, const tls_identity& id) {
  const gnutls_datum_t chain = datum(id.chain), key = datum(id.key);
  if (const int rc = ::gnutls_certificate_set_x509_key_mem(e.credentials, &chain, &key, GNUTLS_X509_FMT_PEM); rc < 0)
    return std::unexpected(tls_failure("certificate and key cannot be used together", rc));
  ::gnutls_x509_crt_init(&e.leaf);
  if (const int rc = ::gnutls_x509_crt_import(e.leaf, &chain, GNUTLS_X509_FMT_PEM); rc < 0)
    return std::unexpected(tls_failure("a certificate cannot be read", rc));
  return {};
}

} // namespace

struct tls_credentials::impl {
  std::vector<entry> entries; // never empty
};

tls_credentials::tls_credentials() : impl_(std::make_unique<impl>()) {}
tls_credentials::~tls_credentials() = default;

outcome<tls_credentials_ptr> tls_credentials::make(const std::vector<tls_identity>& identities, const std::string& trust,
                                                   bool system_trust) {
  std::shared_ptr<tls_credentials> out(new tls_credentials);
  const std::size_t count = identities.empty() ? 1 : identities.size();
  for (std::size_t i = 0; i < count; ++i) {
    entry& e = out->impl_->entries.emplace_back();
    ::gnutls_certificate_allocate_credentials(&e.credentials);
    if (auto ok = add_trust(e, trust, system_trust); !ok) return std::unexpected(ok.error());
    if (identities.empty()) break;
    if (auto ok = add_identity(e, identities[i]); !ok) return std::unexpected(ok.error());
  }
  return out;
}

void* tls_credentials::handle_for(std::string_view server_name) const {
  const std::string name(server_name);
  if (!name.empty())
    for (const entry& e : impl_->entries)
      if (e.leaf != nullptr && ::gnutls_x509_crt_check_hostname(e.leaf, name.c_str()) != 0) return e.credentials;
  return impl_->entries.front().credentials;
}

} // namespace skald::node
