#pragma once
// Which side of a split may publish (sip.md §10): more than half of the base (consistency.md §7); with exactly half, only
// while the guard is still from before the split. Less than half: silent.
#include "dht/view/base.hpp"
#include "dht/view/view.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace skald::dnsupdate {

inline constexpr std::size_t stamps_kept = 64;

enum class split_side : std::uint8_t { more, half, less };

class split_rule {
public:
  void observe(const dht::view& v, const dht::base& b); // on each view and each base
  split_side side() const { return side_; }
  // Stamps of views in which the whole base was there: a guard with one of them is from before a split.
  std::vector<std::string> stamps() const { return {stamps_.begin(), stamps_.end()}; }

private:
  split_side side_ = split_side::more;
  std::deque<std::string> stamps_;
};

} // namespace skald::dnsupdate
