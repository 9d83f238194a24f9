#pragma once
// What a run of the simulator is asked for; everything else follows from the seed.
#include <cstdint>
#include <string>

namespace skald::sim {

enum class fault_mode : std::uint8_t { by_seed, one, overlap, none };

// Bugs that are planted into the ports of a node, never into its code: each invariant has one that random seeds find.
enum class plant : std::uint8_t {
  none,
  early_ack,       // 1: a write counts as held before a copy has it
  lost_tombstones, // 2: merges leave removals out
  skipped_copies,  // 3: one write in eight does not reach its copies, and is said to
  firm_always,     // 4: an absence is called firm without asking
  lost_duty,       // 3: whoever made the cluster's keys first keeps that duty: it passes on to nobody
  no_order,        // 7: a request overtaken by a later one is carried out
  growing_log,     // 8: the log is never rewritten
  other_ring,      // 9: one node counts another's capacity differently
};
const char* name(plant p);

struct options {
  std::uint64_t seed = 1;
  int nodes = 0;            // 0: by seed
  double hours = 0.05;      // of faults and traffic; the healing at the end comes on top
  fault_mode faults = fault_mode::by_seed;
  sim::plant bug = plant::none;
  bool trace = false;
  bool deep = false;        // each record that is stored, too
};

} // namespace skald::sim
