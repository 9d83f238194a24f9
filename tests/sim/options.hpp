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
  lost_tombstones, // 2: merges, of pages and of single keys, leave removals out
  skipped_copies,  // 3: one write in eight does not reach its copies, and is said to
  firm_always,     // 4: an absence is called firm without asking
  lost_duty,       // 3: whoever made the cluster's keys first keeps that duty: it passes on to nobody
  no_order,        // 7: a request overtaken by a later one is carried out
  growing_log,     // 8: the log is never rewritten
  other_ring,      // 9: one node counts another's capacity differently
  ghost_registrations, // 1: a registrar's write is said to be held, and is not
  forgotten_names,     // 3: the names of dead nodes are written and never found again
  deaf_dns,            // 3: the publisher believes updates that never reached the server
  unknown_users,       // 4: a subscriber is now and then firmly unknown
  lost_answers,        // 5: the final answers of some requests are never sent
  two_answers,         // 5: some requests are answered 200 and then 500
  second_invites,      // 5: some INVITEs go to the phone twice, as two transactions
  lost_cancels,        // 5: no phone is ever sent a CANCEL
  two_publishers,      // 3: each node takes the zone for its own
  two_farewells,       // 6: a BYE that the cluster makes goes to the phone twice, as two transactions
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
  bool sip = false;         // phones that speak SIP, and a DNS server
};

} // namespace skald::sim
