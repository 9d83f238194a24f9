#pragma once
// Certificates, keys and trust anchors as TLS uses them: an immutable set, swapped whole. Handshakes that began keep the
// set they began with, later ones take the new one; no connection is dropped.
#include "base/errors.hpp"
#include "base/guarded.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

// PEM texts. The key is unencrypted, and never appears in an error.
struct tls_identity {
  std::string chain; // leaf first
  std::string key;
};

class tls_credentials {
public:
  // `identities`: the first is shown when the name asked for (SNI) fits none, or none was asked; among those that fit
  // the first wins. May be empty for clients. `trust`: PEM of CAs; `system_trust`: the machine's too.
  static outcome<std::shared_ptr<const tls_credentials>> make(const std::vector<tls_identity>& identities,
                                                              const std::string& trust, bool system_trust);
  ~tls_credentials();
  tls_credentials(const tls_credentials&) = delete;
  tls_credentials& operator=(const tls_credentials&) = delete;

  // For tls_engine: the gnutls_certificate_credentials_t for a server name ("" : the default). Any thread.
  void* handle_for(std::string_view server_name) const;

private:
  tls_credentials();
  struct impl;
  std::unique_ptr<impl> impl_;
};
using tls_credentials_ptr = std::shared_ptr<const tls_credentials>;

// Where the current set stands. Any thread.
class tls_slot {
public:
  void set(tls_credentials_ptr p) {
    current_.with([&](tls_credentials_ptr& c) { c = std::move(p); });
  }
  tls_credentials_ptr get() const {
    return current_.with([](const tls_credentials_ptr& c) { return c; });
  }

private:
  guarded<tls_credentials_ptr> current_;
};

} // namespace skald::node
