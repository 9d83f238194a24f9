#pragma once
// What the workers of one node share as an edge: which of them has a leg, whose flows there are, which dialogs pass, who scans.
// A request finds its way whichever worker it comes to. Any thread; outlives the workers.
#include "roles/proxy/dialog_memory.hpp"
#include "roles/proxy/edge_memory.hpp"
#include "roles/proxy/leg_index.hpp"
#include "roles/proxy/scan_limit.hpp"

namespace skald::roles {

struct edge_state {
  leg_index legs;
  edge_memory flows;
  dialog_memory dialogs;
  scan_limit scans;
};

} // namespace skald::roles
