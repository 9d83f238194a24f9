#pragma once
// A node's bundle (certs/) as what TLS on links, towards phones and towards foreign servers needs.
#include "base/clock.hpp"
#include "base/guarded.hpp"
#include "certs/bundle.hpp"
#include "certs/peer.hpp"
#include "certs/sip_peer.hpp"
#include "node/io/tls_credentials.hpp"
#include "node/streams/link_peer.hpp"

#include <memory>
#include <vector>

namespace skald::node {

outcome<tls_credentials_ptr> link_credentials(const certs::bundle& b);
// `public_ones`: what `skald tls set` gave the cluster; they come before the bundle's own where both fit a name.
outcome<tls_credentials_ptr> phone_credentials(const certs::bundle& b, const std::vector<tls_identity>& public_ones);
// Towards servers: the machine's trusted CAs and the cluster's; the bundle's certificate if one is asked for.
outcome<tls_credentials_ptr> outbound_credentials(const certs::bundle& b);

// Who may sign for SIP peers that the settings name by TLS name: the CAs in this PEM file; path empty: the machine's.
outcome<certs::sip_anchors_ptr> peer_anchors(const certs::bundle& b, const std::string& path);

// What peers are judged by, swapped when a revocation list comes. Any thread.
class trust_slot {
public:
  explicit trust_slot(certs::trust t) : current_(std::make_shared<const certs::trust>(std::move(t))) {}
  void set(certs::trust t) {
    current_.with([&](trust_ptr& c) { c = std::make_shared<const certs::trust>(std::move(t)); });
  }
  std::shared_ptr<const certs::trust> get() const {
    return current_.with([](const trust_ptr& c) { return c; });
  }

private:
  using trust_ptr = std::shared_ptr<const certs::trust>;
  guarded<trust_ptr> current_;
};

// Both arguments outlive the verifier.
peer_verifier make_peer_verifier(const trust_slot& trust, const clock& time);

} // namespace skald::node
