#include "node/streams/bundle_tls.hpp"

#include "certs/files.hpp"
#include "certs/pem.hpp"

namespace skald::node {
namespace {

tls_identity identity_of(const certs::bundle& b) {
  return {.chain = certs::pem_encode("CERTIFICATE", b.certificate) + certs::pem_encode("CERTIFICATE", b.ca),
          .key = certs::pem_encode("PRIVATE KEY", b.key)};
}

link_refusal to_link_refusal(certs::refusal r) {
  switch (r) {
  case certs::refusal::no_certificate: return link_refusal::no_certificate;
  case certs::refusal::foreign_ca: return link_refusal::wrong_authority;
  case certs::refusal::expired:
  case certs::refusal::not_yet_valid: return link_refusal::expired;
  case certs::refusal::wrong_usage: return link_refusal::wrong_usage;
  case certs::refusal::revoked: return link_refusal::revoked;
  }
  return link_refusal::other;
}

} // namespace

outcome<tls_credentials_ptr> link_credentials(const certs::bundle& b) {
  return tls_credentials::make({identity_of(b)}, certs::pem_encode("CERTIFICATE", b.ca), false);
}

outcome<tls_credentials_ptr> phone_credentials(const certs::bundle& b, const std::vector<tls_identity>& public_ones) {
  std::vector<tls_identity> all = public_ones;
  all.push_back(identity_of(b));
  return tls_credentials::make(all, {}, false);
}

outcome<tls_credentials_ptr> outbound_credentials(const certs::bundle& b) {
  return tls_credentials::make({identity_of(b)}, certs::pem_encode("CERTIFICATE", b.ca), true);
}

outcome<certs::sip_anchors_ptr> peer_anchors(const certs::bundle& b, const std::string& path) {
  std::string pem;
  if (!path.empty()) {
    auto read = certs::read_file(path);
    if (!read) return std::unexpected(read.error());
    pem = std::move(*read);
    if (pem.empty()) pem = "\n"; // an empty text would mean the machine's
  }
  auto made = certs::sip_anchors::make(pem, b.ca);
  if (!made && !path.empty()) return std::unexpected(failure{path + ": " + made.error().what, made.error().hint});
  return made;
}

peer_verifier make_peer_verifier(const trust_slot& trust, const clock& time) {
  return [&trust, &time](const std::vector<std::string>& chain) -> std::expected<link_peer, link_refusal> {
    const std::vector<std::string_view> views(chain.begin(), chain.end());
    const auto peer = certs::check_peer(views, *trust.get(), time.wall());
    if (!peer) return std::unexpected(to_link_refusal(peer.error()));
    return link_peer{peer->id, peer->name};
  };
}

} // namespace skald::node
