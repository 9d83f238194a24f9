#pragma once
// Everything that can go wrong, each with a rate from the seed (swarm testing: a seed has some kinds and not others).
// One at a time, healed and rested before the next; or overlapping. Machines are broken here and nowhere else.
#include "tests/sim/cluster.hpp"
#include "tests/sim/model.hpp"

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace skald::sim {

enum class fault : std::uint8_t {
  loss, jitter, duplicates, reordering,
  cut_one, cut_halves, cut_zone, cut_one_way, cut_datagrams,
  false_death, pause,
  kill, restart_at_once, power_lost, torn, disk_gone,
  slow_disk, disk_full, slow_link,
  clock_offset, clock_drift, clock_jump,
  join, leave, all_off,
  drain, memory_full, twin, revoke, older, cut_links,
};
inline constexpr int fault_kinds = static_cast<int>(fault::cut_links) + 1;
const char* name(fault f);

class faults {
public:
  faults(cluster& home, model& m);

  bool overlapping() const { return overlapping_; }
  // Begins one that can be had now, and says for how long it should last; nullopt: none can.
  std::optional<duration> begin();
  void note_left(machine_id m);
  void heal_all(); // and start whoever did not leave
  mono_time last_healed() const { return healed_; }
  bool any() const { return !under_way_.empty(); }
  bool clocks_are_wrong() const { return clocks_wrong_; } // at any time in this run
  bool cut_lately() const { return home_.time.now() < cut_counts_until_; }
  std::size_t count() const;
  std::map<std::string, std::size_t> by_kind() const; // those that happened

private:
  struct active {
    fault what;
    std::function<void()> heal;
  };
  fault choose();
  double share_of(double usual) const;
  bool apply(fault f);
  // faults_apply.cpp; false: there is nothing to do it to
  bool spoil_network(fault f);
  bool slow_link();
  bool cut(fault f);
  bool crash_one(fault f, crash_kind how);
  bool everything_off();
  bool pause(fault f, duration d);
  bool slow_disk();
  bool fill_disk();
  bool shift_clock(fault f, std::uint64_t span_ms);
  bool drift_clock();
  bool join();
  bool leave();
  bool drain();
  bool fill_memory();
  bool run_older();
  void kill(machine& m);
  bool start_twin();
  bool revoke();
  void look_for_revoked(const node_id& id);
  quality usual_quality() const;
  void count_losses(const std::vector<machine*>& crashed, crash_kind how);
  machine* victim();
  void found_anew();
  void started(fault f, std::string detail, std::function<void()> heal);

  cluster& home_;
  model& model_;
  seeded_rng random_;
  std::vector<double> weights_;
  bool overlapping_ = false, clocks_wrong_ = false;
  std::vector<active> under_way_;
  std::vector<mono_time> losses_; // of disks or their ends, lately
  mono_time healed_{}, cut_counts_until_{};
  std::array<std::size_t, fault_kinds> counts_{};
  int twins_ = 0;
  revocation_list revoked_; // what the operator has signed
};

} // namespace skald::sim
