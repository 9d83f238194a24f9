#pragma once
// Who is at the other end: the one judgement of a peer's certificate, used by the mesh, the links and the directory.
// It looks at the certificate that the peer sent first, against one CA. Pure: time and trust are parameters; any thread.
#include "base/clock.hpp"
#include "base/ids.hpp"

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

struct peer {
  node_id id;
  std::string name;               // "node7"
  std::vector<std::string> roles; // permitted
  unix_ms not_after = 0;
  std::string serial;             // hex
};

enum class refusal : std::uint8_t { no_certificate, foreign_ca, expired, not_yet_valid, wrong_usage, revoked };
std::string_view to_string(refusal r);

// What a peer is judged by. `crl` may be empty (nothing revoked); one that the CA did not sign is ignored.
struct trust {
  std::string ca;     // DER
  std::string domain; // lower case
  std::string crl{};  // DER
};

// `chain`: DER certificates as the peer sent them, its own first.
std::expected<peer, refusal> check_peer(std::span<const std::string_view> chain, const trust& against, unix_ms now);

} // namespace skald::certs
