#pragma once
// All machines of a simulated cluster with their network, and what the checks are told of: one per seed.
#include "dht/ring/rings.hpp"
#include "dht/swim/membership.hpp"
#include "tests/sim/machine.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/options.hpp"
#include "tests/sim/world.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace skald::sim {

class process;
class sip_world;

// From so many machines on: all processes with the same view share one ring table, a start finds everybody settled since
// long, a cut takes a few machines off the rest, and only some processes tell what they see.
inline constexpr machine_id large_cluster = 32;
inline constexpr machine_id told_of_each = 64; // of a large cluster's processes, one in so many

// An invariant of consistency.md §9 that did not hold.
struct violation {
  int invariant = 0;
  std::string what;
};

class cluster {
public:
  explicit cluster(const options& o);
  ~cluster();

  const options opts;
  world time;
  network net{time};

  machine& at(machine_id m) const { return *machines_[static_cast<std::size_t>(m)]; }
  machine_id size() const { return static_cast<machine_id>(machines_.size()); }
  bool large() const { return size() > large_cluster; }
  bool tells(const machine& m) const { return !large() || m.spec.number % told_of_each == 0; }
  machine& add_machine(); // off
  machine& add_twin(const machine& of); // off; another machine with the same bundle
  void end_for_good(machine_id m);      // its process, without a word; what its disk has counts for nobody
  machine_id first_machines() const { return first_machines_; } // there from the start
  std::optional<machine_id> machine_of(const node_id& id) const; // the first of twins, unless that one is retired
  std::optional<machine_id> machine_at(const ip_address& ip) const;
  std::vector<machine*> running() const;
  std::vector<machine*> serving() const;

  // Everybody who is there now, as a cluster that has been running for long.
  void start_warm();
  const std::vector<dht::fact>& warm_facts() const { return warm_facts_; }

  // What a store of that cluster has on its disk: the lists of everybody, and no sources, for all is merged since long.
  const std::string& warm_lists(process& p, const dht::view_ptr& v);
  dht::base warm_base() const;
  std::vector<machine_id> seeds() const; // the first of those who have not left: the operator keeps the list
  bool founder(machine_id m) const { return at(m).spec.id == at(0).spec.id; }
  const dht::profile& timing() const { return timing_; }
  std::string domain() const { return "example.com"; }
  std::uint64_t next_process_number() { return ++processes_; }
  bool may_keep(const node_id& id); // a planted bug
  dht::ring_pair rings_for(process& p, const dht::view& v, dht::rings& own);

  // What processes tell. `old` may be null.
  void on_view(process& p, const dht::view_ptr& old, const dht::view& now, const dht::ring_pair& before, const dht::ring_pair& after);
  void on_stored(process& p, const dht::record& r);
  // Whoever keeps count of holders.
  std::function<void(machine_id, const dht::record&)> stored;
  std::function<void(machine_id, crash_kind)> crashed;
  std::unique_ptr<sip_world> sip; // null: nobody speaks SIP in this run
  std::map<std::string, std::size_t> happened; // what nodes did by themselves, for the summary
  std::function<void(machine_id)> left; // it has left the cluster: what it still has on its disk counts for nobody

  void fail(int invariant, std::string what); // the first one counts; the run ends
  const std::optional<violation>& failure() const { return failure_; }

private:
  machine& add(machine_spec s);
  dht::ring_ptr cached_ring(std::vector<dht::ring_member> members, const dht::ring* own);
  void check_takeover(process& p, const dht::ring_pair& before, const dht::ring_pair& after);

  std::vector<std::unique_ptr<machine>> machines_;
  std::unordered_map<node_id, machine_id> numbers_;
  std::map<std::string, machine_id> addresses_;
  std::vector<dht::fact> warm_facts_;
  dht::profile timing_ = dht::lan_profile();
  int zones_ = 1;
  machine_id first_machines_ = 0;
  std::uint64_t processes_ = 0;
  std::string warm_lists_;
  std::unordered_map<std::uint64_t, std::weak_ptr<const dht::ring>> ring_cache_; // by a digest of the members
  std::deque<dht::ring_ptr> last_rings_; // kept though nobody may have them any more: the next ones are made from these
  std::optional<node_id> first_keeper_;
  std::optional<violation> failure_;
};

} // namespace skald::sim
