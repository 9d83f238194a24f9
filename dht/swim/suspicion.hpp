#pragma once
// One member under suspicion, as this node sees it: since when, by whom, and until when it may refute
// (ring-and-membership B1.4, B2). Every member runs this timer itself, so a removal happens everywhere within
// milliseconds and hangs on nobody's message.
//
// Pure: no timer inside. The owner asks for the deadline whenever an accuser or another suspect has appeared.
#include "base/clock.hpp"
#include "dht/swim/profile.hpp"

#include <array>
#include <cstdint>
#include <span>

namespace skald::dht {

// Who accuses: the first 64 bits of a node id. Ids are hashes, so that is name enough, and it keeps a rumour short.
using accuser = std::uint64_t;

// More than these change nothing: two are enough to shorten the timer, a third covers for one that is refuted itself.
inline constexpr std::size_t accusers_max = 3;

// How many members there are to look for a second accuser among.
struct standing {
  std::size_t alive = 1;    // held for alive, this node and the suspects counted
  std::size_t suspects = 0; // of those
};

class suspicion {
public:
  suspicion(accuser first, mono_time since);

  // False if this one was known already, or the list is full.
  bool accuse(accuser who);
  bool accused_by(accuser who) const;
  std::span<const accuser> accusers() const { return {accusers_.data(), count_}; }

  mono_time since() const { return since_; }
  // Removal is due at this time. Earlier than before if a second accuser, or too few members to expect one, appeared.
  mono_time deadline(const profile& p, standing s) const;

  // The process slept for this long: nobody could have refuted meanwhile.
  void postpone(duration slept) { since_ += slept; }

private:
  std::array<accuser, accusers_max> accusers_{};
  std::size_t count_ = 0;
  mono_time since_;
};

} // namespace skald::dht
