#include "dht/swim/suspicion.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

// Whether a second accuser can be expected: is there, besides the suspects and the first accuser, anybody in good standing?
// This is K of B2 (Lifeguard's K, cut down to one confirmation).
std::size_t confirmations_wanted(standing s) { return s.alive > s.suspects + 1 ? 1 : 0; }

} // namespace

suspicion::suspicion(accuser first, mono_time since) : since_(since) { accuse(first); }

bool suspicion::accuse(accuser who) {
  if (count_ == accusers_max || accused_by(who)) return false;
  accusers_[count_++] = who;
  return true;
}

bool suspicion::accused_by(accuser who) const { return std::ranges::find(accusers(), who) != accusers().end(); }

mono_time suspicion::deadline(const profile& p, standing s) const {
  const bool confirmed = count_ - 1 >= confirmations_wanted(s);
  return since_ + (confirmed ? p.suspicion_min : p.suspicion_max);
}

} // namespace skald::dht
