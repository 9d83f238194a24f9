#pragma once
// SIP in the simulation: the wire to phones, the DNS server, the phones, the operator who makes their subscribers, and
// what is looked at whenever the cluster is at rest.
#include "tests/sim/dns_model.hpp"
#include "tests/sim/sip_judge.hpp"
#include "tests/sim/sip_phone.hpp"
#include "tests/sim/sip_wire.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace skald::node {
class zone_keeper;
}

namespace skald::sim {

class world_clock final : public clock {
public:
  explicit world_clock(const world& w) : world_(w) {}
  mono_time now() const override { return world_.now(); }
  unix_ms wall() const override { return 1'700'000'000'000 + std::chrono::duration_cast<milliseconds>(world_.elapsed()).count(); }

private:
  const world& world_;
};

class sip_world {
public:
  explicit sip_world(cluster& home);
  ~sip_world();

  void start(); // subscribers and settings are written; then the phones are switched on
  void hold(bool quiet);
  std::string unrest() const; // why SIP is not at rest; empty: it is
  // At rest: all that was acknowledged is found, everybody is reached through every edge, DNS is what the view says.
  void look_at_rest();
  void look_at_end(); // a longer silence: nothing is left of what has passed, each duty has one keeper

  std::size_t phones() const { return phones_.size(); }
  sip_phone& phone(int i) { return *phones_[static_cast<std::size_t>(i)]; }
  std::size_t records_at_most() const; // of SIP, in one node's tables
  std::string summary() const;

  cluster& home;
  world_clock time{home.time};
  sip_wire wire{home};
  dns_model dns{home.time, home.domain()};
  sip_judge judge{home};
  scheduler timers; // of all phones: looked at every few ms

private:
  // What the operator sees to.
  struct task {
    dht::table table;
    ring_key key;
    dht::change change;
    bool done = false;
    bool alone = false;   // acknowledged with a base of one or two
    bool doubted = false; // all who held it may have lost their disks since
    mono_time held{};     // acknowledged, or found again
  };
  void provide(std::size_t i);
  void put(std::size_t i, process& at);
  void look_for(std::size_t i, process& at);
  bool may_be_lost(mono_time since, bool alone) const;
  void tick();
  void look_at_registrations();
  void look_at_lookups();
  void look_at_zone();
  void watch_zone();
  std::string zone_differs() const;
  std::vector<std::string> kept_hosts() const;
  std::string zone_has_more(const node::zone_keeper& keeper) const;

  std::vector<task> tasks_;
  std::vector<std::unique_ptr<sip_phone>> phones_;
  seeded_rng random_;
  std::uint64_t ticks_ = 0;
  bool started_ = false, names_doubted_ = false; // the dead nodes' names may have gone with their holders' disks
};

} // namespace skald::sim
