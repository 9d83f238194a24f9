#pragma once
// Who may be at the other end of a link. The rules are certs/' (CA, validity, usage, revocation, roles); here is the seam.
#include "base/endpoint.hpp"
#include "base/ids.hpp"
#include "node/io/tcp_stream.hpp"

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

enum class link_refusal : std::uint8_t {
  no_certificate,
  wrong_authority, // another CA's
  expired,         // or not yet valid
  wrong_usage,     // serverAuth or clientAuth missing
  revoked,
  wrong_node,      // valid, but not the node that was called
  handshake,       // not TLS 1.3, no common ALPN, broken off
  other,
};
std::string_view to_string(link_refusal r);
// Counts, and writes one line for each reason and peer address, at most one in 10 s each.
void note_refused_link(link_refusal r, const endpoint& peer, std::string_view detail);

struct link_peer {
  node_id id;
  std::string name;
};
// Judges a chain (DER, leaf first) after each handshake. Called on any thread, several at once.
using peer_verifier =
    std::function<std::expected<link_peer, link_refusal>(const std::vector<std::string>& chain)>;
// Where a node's link port is, by the current view; nullopt: not a member. Any thread.
using link_lookup = std::function<std::optional<endpoint>(const node_id&)>;

inline constexpr std::string_view alpn_sip = "sip/2";
inline constexpr std::string_view alpn_store = "skald/1";
// A dead link breaks soon: what went into it waits for that, and so does a node to see that it is half dead. In four seconds
// TCP says a thing five times: at 5 % loss, one link in three million breaks without need.
inline constexpr keep_alive link_keep_alive{.idle_s = 3, .interval_s = 1, .count = 3, .user_timeout_ms = 4'000};

// A `sip/2` link that was accepted and judged, on its way to a worker.
struct accepted_link {
  tcp_stream::parts parts;
  node_id peer;
};

} // namespace skald::node
