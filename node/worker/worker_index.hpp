#pragma once
// Which worker has a UDP server transaction (sip.md §5): the kernel spreads datagrams by source address and port, so a
// retransmission, ACK or CANCEL from another port may reach another worker than its request did. Striped; any thread.
#include "base/clock.hpp"
#include "base/guarded.hpp"
#include "sip/message/message.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>

namespace skald::node {

inline constexpr std::size_t index_stripes = 64;
inline constexpr std::size_t index_entries_max = 2'000'000; // over all stripes; over it nothing new is entered (counted)
// How long an entry stays: an INVITE may ring, anything else ends with timer J.
inline constexpr duration index_invite_life = std::chrono::minutes(10);
inline constexpr duration index_other_life = seconds(70);

class worker_index {
public:
  // `seed`: random, so that nobody outside can aim at one stripe.
  explicit worker_index(std::uint64_t seed) : seed_(seed) {}

  // The worker that this request belongs to: the one that was first to claim it, else `me`, which claims it. ACK and
  // CANCEL are looked up and claim nothing. nullopt: not a request this index is for (REGISTER, OPTIONS, no Via).
  std::optional<std::uint16_t> owner(const sip::message& request, std::uint16_t me, mono_time now);
  std::size_t size() const;

private:
  struct entry {
    std::uint16_t worker;
    mono_time expires;
  };
  struct stripe {
    std::unordered_map<std::uint64_t, entry> entries;
    std::deque<std::uint64_t> invites, others; // oldest first: what to look at when expiring
  };
  static void expire(stripe& s, std::deque<std::uint64_t>& order, mono_time now);

  std::uint64_t seed_;
  std::array<guarded<stripe>, index_stripes> stripes_;
};

} // namespace skald::node
