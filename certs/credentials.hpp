#pragma once
// A bundle as GnuTLS credentials, for DTLS (mesh) and TLS (links). Share one object among sessions; a renewed bundle
// means new credentials for new sessions.
//
// GnuTLS traps: GNUTLS_CERT_REQUIRE does not verify anything. Every user of these credentials asks for a certificate
// and gives the peer's chain to check_peer before it believes a byte. Sessions use no tickets: resumption would skip that.
#include "certs/bundle.hpp"

#include <expected>
#include <gnutls/gnutls.h>
#include <memory>

#include "certs/peer.hpp"

namespace skald::certs {

using credentials_ptr = std::shared_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>>;
credentials_ptr make_credentials(const bundle& b);

trust trust_of(const bundle& b);

// check_peer on what the other end of `session` has sent.
std::expected<peer, refusal> check_session(gnutls_session_t session, const trust& against, unix_ms now);

} // namespace skald::certs
