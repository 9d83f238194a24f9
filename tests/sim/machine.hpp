#pragma once
// A machine: clock, disk, power, and at most one process of skald on it. Faults act on machines; processes never know.
#include "tests/sim/disk.hpp"
#include "tests/sim/network.hpp"

#include "base/endpoint.hpp"
#include "base/ids.hpp"
#include "dht/link/messages.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace skald::sim {

class process;
class cluster;

struct machine_spec {
  machine_id number = 0;
  node_id id;
  std::string name, zone;
  std::string bundle; // the name on its certificate; its own but for a twin
  std::uint32_t capacity = 100;
  ip_address ip;
};

class machine final : public clock {
public:
  machine(cluster& home, machine_spec spec);
  ~machine() override;

  // clock: CLOCK_BOOTTIME and the wall clock of this machine, each as wrong as faults made it.
  mono_time now() const override;
  unix_ms wall() const override;
  mono_time in_world(mono_time mine) const; // not before that moment here
  void set_drift(double ppm);
  milliseconds wall_offset{0};

  void start(bool warm = false);      // power on, and a new process
  void crash(crash_kind how);         // with its power, unless it is only killed
  void pause(duration d);             // the process stands still; longer of several pauses counts
  void stop();                        // the process ended by itself
  bool running() const { return process_ != nullptr; }
  bool paused() const;
  process& proc() const { return *process_; }

  const machine_spec spec;
  sim::disk disk;
  bool left = false; // of the cluster, on purpose: it does not start again by itself
  bool retired = false; // nor by anybody: its bundle is in use elsewhere, or revoked
  std::uint32_t wire_highest = dht::wire_version_highest; // that the next process speaks
  std::uint64_t memory_budget = 0; // of the next process' store, bytes; 0: none
  bool found = false; // the next process is started with --found

private:
  void wake();

  cluster& home_;
  std::unique_ptr<process> process_;
  mono_time world_base_, mine_base_;
  double rate_ = 1;
  mono_time paused_until_{};
};

} // namespace skald::sim
