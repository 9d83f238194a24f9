#pragma once
// The knobs of membership, and the two settings of them that the page's figures belong to (ring-and-membership B2).
// A profile is a cluster setting: every node must run the same one.
#include "base/clock.hpp"

namespace skald::dht {

struct profile {
  // How often each neighbour is told "I am here, and I hear you".
  duration heartbeat;
  // How many members before and after in id order are neighbours. Two each, so that a neighbour's own death leaves three.
  int neighbours_each_side = 2;
  // Without a two-way sign of life for this long, a neighbour is probed. Three lost heartbeats, and jitter on WAN.
  duration silence;
  // After this long without an answer the probe asks again, and asks helpers, and over the link. Thirty round trips on
  // LAN. On WAN it is below the longest round trip, which only means that helpers are asked early.
  duration ping;
  // A probe without any answer for this long makes a suspect.
  duration probe;
  // Through how many other members a probe goes besides.
  int helpers = 3;
  // How often a random member that is no neighbour is probed: sees broken paths that neighbours do not use.
  duration random_probe;
  // How long a suspect has to refute if a second member accuses it, too; and if one member accuses it alone, who is then
  // more likely the broken one. The first bridges pauses, and a refutation that is lost twice.
  duration suspicion_min, suspicion_max;
  // News is pushed to `fan` members every `gossip`, lambda * (ceil(log10(n + 1)) + 1) times in all.
  duration gossip;
  int fan, lambda;
  // How often one of the dead is told that it is held for dead: the way back after a partition.
  duration dead_ping;
  // For how long the dead are remembered.
  duration keep_dead = std::chrono::hours(24);
};

constexpr profile lan_profile() {
  return {.heartbeat = milliseconds(100), .silence = milliseconds(300), .ping = milliseconds(30), .probe = milliseconds(100),
          .random_probe = seconds(1), .suspicion_min = milliseconds(300), .suspicion_max = seconds(1),
          .gossip = milliseconds(50), .fan = 3, .lambda = 4, .dead_ping = seconds(1)};
}

constexpr profile wan_profile() {
  return {.heartbeat = milliseconds(250), .silence = milliseconds(800), .ping = milliseconds(250), .probe = milliseconds(500),
          .random_probe = seconds(2), .suspicion_min = milliseconds(800), .suspicion_max = milliseconds(2500),
          .gossip = milliseconds(150), .fan = 4, .lambda = 4, .dead_ping = seconds(2)};
}

} // namespace skald::dht
