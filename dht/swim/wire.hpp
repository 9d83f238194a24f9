#pragma once
// What members say to each other: small datagrams on the gossip channel, and lists of facts over links.
//
// A datagram is two bytes of framing (type, version: design §10) and one positional array:
//   [kind, flags, life, incarnation, state, version, digest,   32 bytes: a heartbeat ends here
//    sequence, third, clock, rumours,  base epoch, base check]
// The sender's id is not in it: the mesh knows it from the certificate.
#include "base/errors.hpp"
#include "dht/link/channel.hpp"
#include "dht/swim/suspicion.hpp"
#include "dht/view/base.hpp"
#include "dht/view/fact.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::dht {

enum class swim_kind : std::uint8_t {
  heartbeat = 1, // flag echo: "and I hear you"
  ping = 2,      // answered by an ack with the same sequence and third
  ack = 3,       // third not empty: pass it on to that member as `relayed`
  ask = 4,       // "ping `third` for me"
  relayed = 5,   // "`third` has answered your ping"
  gossip = 6,    // carries rumours, asks nothing
};

// A fact, with those who accuse its subject of being dead.
struct rumour {
  fact about;
  std::array<accuser, accusers_max> accusers{};
  std::uint8_t accuser_count = 0;
  std::span<const accuser> who() const { return {accusers.data(), accuser_count}; }
};

struct swim_message {
  swim_kind kind = swim_kind::heartbeat;
  bool echo = false;
  fact sender;             // its own fact; `id` is not on the wire
  std::uint64_t digest = 0; // the hash of the sender's view stamp
  std::uint32_t sequence = 0;
  node_id third;           // zero: none
  unix_ms clock = 0;       // the sender's own clock; 0: not told
  std::vector<rumour> rumours;
  std::uint64_t base_epoch = 0; // of the sender's base (consistency.md §7); 0: none, or another version of skald
  std::uint32_t base_check = 0; // of its members
};

inline constexpr std::size_t swim_datagram_bytes_max = 1200; // fits every path with DTLS around it
inline constexpr std::size_t swim_rumours_max = 14;          // 80 bytes each at most
inline constexpr std::uint8_t swim_version = 1;

std::string encode(const swim_message& m); // at most swim_rumours_max rumours
// Into `out`, whose memory is used again. Errors: malformed, too_large, unsupported (another type, or no version of ours).
result<void> decode(std::string_view datagram, swim_message& out);

// The body of members_exchange and of members_reply.
struct members_list {
  unix_ms cluster_time = 0; // the sender's, when it sent
  std::vector<fact> facts;
  base agreed; // the sender's base; epoch 0: it has none
  std::uint64_t asked = 0; // members_exchange: a moment of the sender's own; members_reply: that moment again. 0: not said
};
inline constexpr std::size_t members_list_max = 16384;
inline constexpr std::size_t base_members_max = 8192;
std::string encode(const members_list& l);
result<members_list> decode_members(std::string_view body);

} // namespace skald::dht
