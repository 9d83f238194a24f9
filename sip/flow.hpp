#pragma once
// Flows (RFC 5626): where a message came from and where one can be sent. Values, no sockets.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/ids.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skald::sip {

enum class transport : std::uint8_t { udp, tcp, tls, link };
inline bool is_stream(transport t) { return t != transport::udp; }
std::string_view via_name(transport t);   // "UDP", "TCP", "TLS"; a link is "TLS" too
std::string_view param_name(transport t); // "udp", "tcp", "tls", as in ;transport=

// One flow of this node. UDP: the 5-tuple, serial 0. Streams: `serial` names the connection on this worker, never
// used twice by one process.
struct flow {
  sip::transport transport = sip::transport::udp;
  std::uint16_t worker = 0;   // who holds the connection; for UDP: the worker that received, any may send
  std::uint32_t serial = 0;
  endpoint local;             // the address of ours that the peer used
  endpoint remote;

  bool operator==(const flow&) const = default;
};

// Who the other end of a TLS connection is by its certificate, which was verified for SIP (RFC 5922 §7).
struct certified_names {
  std::vector<std::string> names; // SIP domain identities, lower case
  unix_ms until = 0;              // when the certificate ends
};

// What the transport knows about a message that arrived.
struct arrival {
  sip::flow flow;
  mono_time at;              // datagrams: when the kernel had it
  node_id peer{};             // links: the node at the other end, verified by its certificate; else zero
  std::string sni{};          // TLS: the name the peer asked for
  std::shared_ptr<const certified_names> certified{}; // TLS; null: nothing is known of who the peer is
  bool from_link() const { return flow.transport == transport::link; }
};

// Where to open a flow to.
struct target {
  sip::transport transport = sip::transport::udp; // udp, tcp, tls; links are opened by node id
  endpoint remote;
  std::string tls_name{};     // tls: the name to verify the peer's certificate against
  bool trusted_peer = false;  // tls: what comes over it will be believed: the peers' anchors, and RFC 5922 §7 to the letter
  bool operator==(const target&) const = default;
};

} // namespace skald::sip

template <>
struct std::hash<skald::sip::flow> {
  std::size_t operator()(const skald::sip::flow& f) const noexcept {
    return std::hash<skald::endpoint>{}(f.remote) * 31 + std::hash<skald::endpoint>{}(f.local) + f.serial * 7919u +
           static_cast<std::size_t>(f.transport);
  }
};
