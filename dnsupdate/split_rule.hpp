#pragma once
// Which side of a split may publish (sip.md §10): more than half of the members last agreed on; with exactly half, only
// while the guard is still from before the split. What was agreed on is approximated by the active members of a view that
// stood still for a while on a side with the majority: publications by others are not watched.
#include "base/clock.hpp"
#include "dht/view/view.hpp"

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

namespace skald::dnsupdate {

inline constexpr duration agreed_after = seconds(10);
inline constexpr std::size_t stamps_kept = 64;

enum class split_side : std::uint8_t { more, half, less };

class split_rule {
public:
  void observe(const dht::view& v, mono_time now); // on each view, and now and then
  split_side side() const { return side_; }
  // Stamps of views in which all that were agreed on were there: a guard with one of them is from before a split.
  std::vector<std::string> stamps() const { return {stamps_.begin(), stamps_.end()}; }

private:
  std::set<node_id> agreed_, candidate_;
  mono_time since_{};
  split_side side_ = split_side::more;
  std::deque<std::string> stamps_;
};

} // namespace skald::dnsupdate
