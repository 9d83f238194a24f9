#pragma once
// One seed from beginning to end: the cluster forms, phones use it, faults happen and are healed, and what has to hold is
// looked at whenever everything is at rest.
#include "tests/sim/cluster.hpp"
#include "tests/sim/store_phones.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace skald::sim {

struct outcome_of_run {
  std::optional<violation> failure;
  std::uint64_t hash = 0, events = 0, datagrams = 0;
  std::size_t faults = 0, rests = 0;
  std::map<std::string, std::size_t> kinds, happened; // of the faults; what nodes did by themselves
  phone_counts phones;
  std::vector<std::string> last_events;
  std::string sip; // what its phones did; empty: there were none
  double virtual_seconds = 0;
  std::string summary() const;
};

std::string text_of(const std::map<std::string, std::size_t>& counts); // "2 drain, 1 kill"

outcome_of_run run(const options& o);

} // namespace skald::sim
