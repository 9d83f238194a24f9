#pragma once
// Who was turned away at the overlay, by reason: a counter each, and one log line each per `refusal_log_interval`.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "certs/peer.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace skald::dht {

enum class mesh_refusal : std::uint8_t {
  no_certificate, foreign_ca, expired, not_yet_valid, wrong_usage, revoked,
  forged_id,   // a valid certificate, another DHT id in the packet
  role,        // a record or body claims a role that its certificate does not permit
  plain,       // not DTLS
  handshake,   // DTLS, but no handshake came of it
  frame,       // an authenticated peer's record follows no rule
  overload,    // over a limit
};
inline constexpr std::size_t mesh_refusal_count = 12;
inline constexpr seconds refusal_log_interval{10};

mesh_refusal refusal_from(certs::refusal r);
std::string_view to_string(mesh_refusal r);

// Process-wide counts (the metrics behind skald_mesh_refused_total). Any thread.
std::uint64_t refused_total(mesh_refusal r);
void count_refusal(mesh_refusal r);

// One thread.
class refusal_log {
public:
  // Counts, and writes "mesh: refused 192.0.2.7:4260: <reason> (<detail>)" if none of the kind was written lately.
  void note(mesh_refusal r, const endpoint& from, std::string_view detail, mono_time now);
  // The same about a node whose address does not matter.
  void note(mesh_refusal r, std::string_view who, std::string_view detail, mono_time now);

private:
  struct line {
    mono_time last{};
    bool written = false;
    std::uint64_t held_back = 0;
  };
  std::array<line, mesh_refusal_count> lines_;
};

} // namespace skald::dht
