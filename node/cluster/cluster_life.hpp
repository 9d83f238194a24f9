#pragma once
// What this node decides about its own life in the cluster, without I/O: when it begins alone, when it turns active and for
// what it waits, when it looks for seeds, what it publishes of the view, when it is half dead and steps back, and how it
// drains and leaves (consistency.md §4, §7; decisions 3 and 25). Cluster thread. The simulation has it as it is.
#include "base/log.hpp"
#include "dht/ring/rings.hpp"
#include "dht/store/replicated.hpp"
#include "dht/swim/membership.hpp"
#include "node/cluster/shared_state.hpp"
#include "roles/core/ports.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

// What the machine does for it: called from within a call of cluster_life, never later.
class life_port {
public:
  virtual ~life_port() = default;
  virtual dht::ring_pair rings_for(const dht::view& v) = 0; // of the role registrar
  // Opens mesh sessions to whoever may know the cluster. `again`: it looked before, and what is remembered may be newer.
  virtual void look_for_seeds(bool again) = 0;
  virtual std::string seeds_asked() const = 0; // for people; empty: none is known
  virtual std::vector<node_id> mesh_peer_ids() const = 0;
  virtual bool address_known(const node_id& id) const = 0; // of its links
  virtual void want_record(const node_id& id) = 0;
  virtual bool hears(const node_id& id) const = 0; // a mesh session with it is up
  // Calls to it have failed for link_failing_after. If the last one failed and its pause is over, this calls again.
  virtual bool links_fail(const node_id& id) = 0;
  virtual void drop_links(const node_id& id) = 0; // of a member that is dead or forgotten; ends what waits in them
  virtual void membership_changed() = 0; // its next deadline may be another
  virtual void write_memory() = 0;       // life, base, and peers of the present view, for the next start
  // The facts are new; `keeper`: this node makes the cluster's keys.
  virtual void facts_changed(roles::facts_ptr facts, bool keeper) = 0;
  virtual void note(log::level l, std::string_view text) = 0; // for people
};

struct life_config {
  bool founder = false; // the bundle is the founder's (design §10)
  bool found = false;   // --found
  dht::base base{};     // from disk
};

class cluster_life {
public:
  // All that is referred to outlives it.
  cluster_life(life_config config, life_port& port, dht::membership& members, dht::store& store, shared_state& shared,
               scheduler& timers, const clock& time);

  void join_tick(); // begins to join; the first call, after the first view

  // What membership's observer is told.
  void on_view(dht::view_ptr v);
  void on_self_removed(std::uint64_t new_life, duration joining_for);
  void on_stale(bool stale);
  void on_base(const dht::base& b);

  void publish_facts(); // what shared_state has is new
  void try_activate();  // the store is settled, or something else that it waited for
  void set_names_in_dns(bool seen);
  void accept_base();
  // To be called every watch_period. Half dead (§7): it cannot write its disk, or cannot open links to members that the
  // mesh hears. Then it steps back, first as draining, so that nothing new comes; and as joining when its heirs have what
  // it held, out of the rings until it is well.
  void judge_health();
  void drain();
  void leave(std::move_only_function<void()> done); // at most leave_deadline
  void remember(); // soon

  const dht::view_ptr& view() const { return view_; } // null before the first one
  const dht::ring_pair& rings() const { return rings_; }
  const std::shared_ptr<const dht::base>& base() const { return base_; }
  bool draining() const { return draining_; }
  bool leaving() const { return leaving_; }
  bool stale() const { return stale_; }
  bool isolated() const { return isolated_; }
  bool was_active() const { return was_active_; } // in this process
  const std::string& half_dead() const { return half_dead_; } // why it stepped back by itself; empty: it did not
  std::string waiting_for() const; // why this node is not active yet; empty if it is

private:
  void note_isolation();
  void drop_links_of_dead(const dht::view* before, const dht::view& now);
  std::string trouble() const;
  void step_back(const std::string& why);
  void wait_as_joining();
  void come_back();
  bool may_begin_alone() const;
  std::string waiting_for_base() const;
  void leave_tick(mono_time until);
  void set_state(dht::member_state s);

  life_config config_;
  life_port& port_;
  dht::membership& members_;
  dht::store& store_;
  shared_state& shared_;
  scheduler& timers_;
  const clock& time_;

  dht::view_ptr view_;
  dht::ring_pair rings_;
  std::shared_ptr<const dht::base> base_;
  std::string half_dead_;
  const mono_time started_;
  mono_time trouble_since_{}, healthy_since_{}, stepped_back_{};
  unsigned join_ticks_ = 0;
  bool was_active_;
  bool draining_ = false, leaving_ = false, stale_ = false, isolated_ = false;
  bool names_in_dns_ = false, remember_set_ = false;
  std::move_only_function<void()> left_;
};

inline constexpr duration begin_alone_after = seconds(2);   // design §10: a founder without a seed's answer
inline constexpr duration begin_in_turn = milliseconds(500);
inline constexpr duration leave_deadline = seconds(15);
inline constexpr duration drain_look = seconds(1); // for the calls that a draining node still has
inline constexpr int drain_quiet_looks = 3;        // without any, before it leaves: one just answered is not noted yet
inline constexpr duration join_retry = milliseconds(500);
inline constexpr duration watch_period = milliseconds(500);
inline constexpr duration trouble_lasts = watch_period;      // seen twice; failing links count after link_failing_after besides
inline constexpr duration well_after = seconds(5);
inline constexpr duration step_back_patience = watch_period; // then its share is others' as if it had died: what it acknowledged, they hold

} // namespace skald::node
