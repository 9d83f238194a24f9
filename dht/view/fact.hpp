#pragma once
// What gossip carries about a member. Facts about one member are totally ordered, and merge by "greater wins", so it
// does not matter in which order they arrive (consistency.md §6).
#include "dht/view/view.hpp"

#include <compare>
#include <cstdint>

namespace skald::dht {

// (life, incarnation): a removed member returns only with a new life; a higher incarnation refutes a suspicion.
struct identity {
  std::uint64_t life = 0;
  std::uint32_t incarnation = 0;
  auto operator<=>(const identity&) const = default;
};

// A peer may claim no more: above the claim there must be room for the next life (ms fit for the next 140 million years).
inline constexpr std::uint64_t life_max = std::uint64_t{1} << 62;
inline constexpr std::uint32_t incarnation_max = std::uint32_t{1} << 30; // then a new life is taken

struct fact {
  node_id id;
  identity self;
  member_state state = member_state::joining;
  std::uint64_t version = 0; // of the member's body

  bool operator==(const fact&) const = default;
  bool alive() const { return state < member_state::dead; }
  bool serving() const { return state == member_state::active || state == member_state::draining; }
};

// For two facts about one member. The enumerators of member_state stand in the order of their rank.
inline bool stronger(const fact& a, const fact& b) {
  if (a.self != b.self) return a.self > b.self;
  if (a.state != b.state) return a.state > b.state;
  return a.version > b.version;
}

// A fact's share of the view stamp: the stamp's hash is the sum over all living members, so it changes in one step.
std::uint64_t stamp_share(const fact& f);

} // namespace skald::dht
