#pragma once
// Who a SIP peer is by its TLS certificate, and whether that is believed (RFC 5922 §7, RFC 5924). For trusted peers that
// the settings name by TLS name: gateways, other operators' servers; never for nodes, whose rules are peer.hpp's.
#include "base/clock.hpp"
#include "base/errors.hpp"

#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

inline constexpr std::size_t sip_names_max = 256; // of one certificate; what is over it does not count
inline constexpr std::size_t sip_chain_max = 16;  // certificates looked at

// The SIP domain identities that a certificate names, lower case (RFC 5922 §7.1): the hosts of its sip: URIs without user
// part; only if there is none of those its DNS names. Wildcards name nobody (§7.2), the common name is not asked. Says
// nothing of who signed it. Any thread.
std::vector<std::string> sip_identities(std::string_view certificate_der);

enum class sip_end : std::uint8_t { client, server }; // which end of the connection showed the certificate

struct sip_peer {
  std::vector<std::string> names; // never empty
  unix_ms until = 0;              // the first of the chain's certificates ends then
};

enum class sip_refusal : std::uint8_t {
  unreadable,
  own_cluster, // by the cluster's own CA: its nodes are believed on links, and are nobody's peer (docs/decisions/0021)
  untrusted,   // no chain to an anchor, or a broken one
  expired,     // or not valid yet
  wrong_usage, // extended key usage without clientAuth (servers: serverAuth) and sipDomain, or a key not for signatures
  nameless,    // no SIP domain identity
};
std::string_view to_string(sip_refusal r);

// The trust anchors for peers. Immutable; any thread.
class sip_anchors {
public:
  // `pem`: CA certificates, or self-signed ones of single peers; empty: those that the machine trusts. `own_ca`: the
  // cluster's, DER.
  static outcome<std::shared_ptr<const sip_anchors>> make(const std::string& pem, std::string_view own_ca);
  ~sip_anchors();
  sip_anchors(const sip_anchors&) = delete;
  sip_anchors& operator=(const sip_anchors&) = delete;

  // `chain`: DER, the peer's own certificate first. The peer proved in the handshake that it has the key. Time is the
  // machine's.
  std::expected<sip_peer, sip_refusal> judge(std::span<const std::string> chain, sip_end shown_by) const;

private:
  sip_anchors();
  struct impl;
  std::unique_ptr<impl> impl_;
};
using sip_anchors_ptr = std::shared_ptr<const sip_anchors>;

} // namespace skald::certs
