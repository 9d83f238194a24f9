#pragma once
// Which worker of this node has the leg of an attempt (sip.md §5): copies of a request come by any link, and links are
// spread over the workers. Also which worker waits for the ACK of a leg's 2xx. Striped; any thread.
#include "base/clock.hpp"
#include "base/guarded.hpp"
#include "roles/proxy/attempt.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t leg_index_stripes = 64;
inline constexpr std::size_t leg_index_entries_max = 1'000'000; // over all stripes; over it a leg is known to its worker alone

class leg_index {
public:
  // The worker that was first to claim this leg; `me` claims it if nobody has.
  std::uint16_t claim(const leg_key& leg, std::uint16_t me);
  std::optional<std::uint16_t> find(const leg_key& leg) const; // the worker that claimed it
  // Only what `me` claimed is let go.
  void release(const leg_key& leg, std::uint16_t me);

  // A 2xx of that caller's request waits for its ACK at worker `me`; of a fork several workers may.
  void expect_ack(const leg_key& caller, std::uint16_t me);
  std::vector<std::uint16_t> who_expects_ack(const leg_key& caller) const;
  void ack_settled(const leg_key& caller, std::uint16_t me);

  // When the same UA may hear the same request again (sip.md §6: a UA takes it for a merged one before, 482).
  void keep_quiet(const leg_key& ua, mono_time now, mono_time until);
  mono_time quiet_until(const leg_key& ua) const; // long ago, if nothing is known

  std::size_t size() const;

private:
  struct stripe {
    std::unordered_map<leg_key, std::uint16_t, leg_key_hash> legs;
    std::unordered_multimap<leg_key, std::uint16_t, leg_key_hash> acks;
    std::unordered_map<leg_key, mono_time, leg_key_hash> quiet;
    std::deque<leg_key> quiet_order; // oldest first: each pause is as long as the other
  };
  guarded<stripe>& of(const leg_key& k) { return stripes_[k[1] % leg_index_stripes]; }
  const guarded<stripe>& of(const leg_key& k) const { return stripes_[k[1] % leg_index_stripes]; }

  std::array<guarded<stripe>, leg_index_stripes> stripes_;
};

} // namespace skald::roles
