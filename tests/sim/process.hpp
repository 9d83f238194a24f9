#pragma once
// One process of skald on a simulated machine: the production membership, rings, store and shared state, composed as
// node/cluster/cluster_unit does it, with its life in the cluster (node/cluster/cluster_life). process.cpp carries bytes; process_life.cpp
// does what life asks of a machine.
#include "dht/ring/rings.hpp"
#include "dht/store/replicated.hpp"
#include "dht/swim/membership.hpp"
#include "node/cluster/cluster_life.hpp"
#include "node/cluster/shared_state.hpp"
#include "node/cluster/twin_claim.hpp"
#include "roles/core/ports.hpp"
#include "tests/sim/link_hub.hpp"
#include "tests/sim/machine.hpp"
#include "tests/sim/mesh.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace skald::sim {

class sip_machine;

class process final : public net_user,
                      public roles::cluster_port,
                      dht::datagrams,
                      dht::link_user,
                      dht::membership_observer,
                      node::life_port {
public:
  process(cluster& home, machine& on);
  ~process() override;

  // `warm`: the cluster of all machines is there already, and this node is active in it.
  void start(bool warm);
  void leave();
  void accept_base(); // the operator says that those who are missing are gone for good
  void drain(); // and leave, once no call passes here any more
  void take_revocations(const revocation_list& list); // `skald revoke`, told to this node
  void close(); // it ends in order
  void wake(); // after a pause: what waits in the socket first, then the timers
  // Runs `f` in a turn of this process's loop, or now if it is in one.
  void turn(std::move_only_function<void()> f);
  // Runs `f` at the end of the present turn or in one of its own, unless the process is gone by then.
  void post(std::move_only_function<void()> f);

  roles::facts_ptr facts() const override { return facts_; }
  dht::store_api& store() override;
  void views_differ(const node_id& peer) override;

  dht::store& whole_store() { return *store_; }
  bool raw_send(const node_id& to, dht::frame f) { return links_->send(to, std::move(f)); } // past a planted bug
  const node_id& id() const { return on_.spec.id; }
  dht::view_ptr view() const { return life_->view(); }
  dht::ring_pair rings() const { return life_ ? life_->rings() : dht::ring_pair{}; }
  const dht::base& base() const { return *life_->base(); }
  dht::member_state state() const { return membership_->state(); }
  bool serving() const { return facts_ && facts_->serving; }
  bool stale() const { return life_->stale(); }
  bool knows_revoked(const node_id& id) const { return is_revoked(id); }
  bool keeper() const { return keeper_; } // of the cluster's keys: a duty that one node has
  mono_time damped_until() const { return damped_until_; } // in the world's time: removed too often, it waits (B5)
  const dht::membership& members() const { return *membership_; }
  unix_ms cluster_time() const { return store_->cluster_time(); }
  std::size_t timers() const { return timers_.size(); }
  std::uint64_t number() const { return number_; } // of the process, never used again
  sip_machine* sip() const { return sip_.get(); }  // null: this run has no SIP
  std::size_t keys_known() const { return shared_->keys()->keys().size(); }
  machine& on() const { return on_; }

  // net_user
  void on_datagram(machine_id from, std::string bytes) override;
  void on_unreachable(machine_id there) override;
  void on_stream_open(stream_id s, machine_id peer, stream_use use, bool outbound) override;
  void on_stream_bytes(stream_id s, std::string_view bytes) override;
  void on_stream_closed(stream_id s) override;

private:
  // dht::datagrams
  void send(const node_id& to, std::string bytes) override;
  // dht::link_user
  void on_frame(const node_id& from, dht::frame f) override;
  void on_link_up(const node_id& peer) override;
  void on_link_down(const node_id& peer) override;
  // dht::membership_observer
  void on_view(dht::view_ptr v) override;
  void on_body_wanted(const node_id& member, std::uint64_t version) override;
  void on_self_removed(std::uint64_t new_life, duration joining_for) override;
  void on_stale(bool stale) override;
  void on_base(const dht::base& b) override;
  void on_contested(std::uint64_t body_version) override;

  void start_membership(bool warm);
  void settle_warm();
  mono_time warm_began() const;
  void start_store();
  void start_sip();
  void run_turn();
  void arm();
  void membership_turn();
  void arm_membership();
  void on_gossip(machine_id from, std::string_view bytes);
  void on_peer(machine_id peer);
  void on_peer_gone(machine_id there);
  void take_record(machine_id from, const node_id& id, const dht::member_body& body);
  void send_record(machine_id to, const node_id& whose);

  // process_twin.cpp: the glue of node/cluster/cluster_twin.cpp and of what dht/mesh does for it
  node::twin_claim own_claim() const;
  void meet_twin(machine_id at);
  void on_claim(machine_id at, std::string_view told);
  void on_twin(machine_id at, std::string_view told);
  void take_own_record(const dht::member_body& body);
  void renew_body(std::uint64_t above);
  void outdo();
  void doubled(machine_id before, machine_id now);

  // process_revoke.cpp: the glue of node/cluster/cluster_revocation.cpp
  void apply_revocations();
  void on_revocations(std::string_view bytes);
  void tell_revocations(machine_id peer);
  bool is_revoked(const node_id& id) const { return revoked_.named.contains(id); }

  // process_life.cpp
  void watch_tick();
  void look_at_disk();
  void drain_tick(int quiet_looks);
  std::size_t calls_here() const;
  dht::ring_pair rings_for(const dht::view& v) override;
  void look_for_seeds(bool again) override;
  std::string seeds_asked() const override { return {}; }
  std::vector<node_id> mesh_peer_ids() const override;
  bool address_known(const node_id& id) const override { return addresses_.contains(id); }
  std::optional<machine_id> address_of(const node_id& id) const;
  std::optional<machine_id> way_to(const node_id& id);
  void want_record(const node_id& id) override { on_body_wanted(id, 0); }
  bool hears(const node_id& id) const override;
  bool links_fail(const node_id& id) override;
  void drop_links(const node_id& id) override { links_->disconnect(id); }
  void membership_changed() override { arm_membership(); }
  void write_memory() override;
  void facts_changed(roles::facts_ptr facts, bool keeper) override;
  void note(log::level l, std::string_view text) override;

  cluster& home_;
  machine& on_;
  std::uint64_t number_;
  seeded_rng random_;
  scheduler timers_;
  std::unique_ptr<sim::mesh> mesh_;
  std::unique_ptr<link_hub> links_;
  std::unique_ptr<dht::link_port> wrapped_links_;   // perverted by a planted bug, or nothing
  std::unique_ptr<dht::membership> membership_;
  std::unique_ptr<dht::store> store_;
  std::unique_ptr<dht::store_api> wrapped_store_;   // the same
  std::unique_ptr<node::shared_state> shared_;
  std::unique_ptr<node::cluster_life> life_;
  std::unique_ptr<sip_machine> sip_;
  dht::rings rings_;
  roles::facts_ptr facts_;
  std::map<node_id, dht::member_body> records_; // newest of each member
  std::map<node_id, machine_id> addresses_;     // by their records; kept for longer than those
  std::map<node_id, machine_id> homes_;         // with whom the mesh has a session: where the last one began
  dht::member_body body_;

  std::vector<std::move_only_function<void()>> posted_;
  bool in_turn_ = false;
  mono_time armed_ = mono_time::max(); // in the world's time
  std::shared_ptr<int> alive_ = std::make_shared<int>();

  std::vector<machine_id> remembered_peers_;
  revocation_list revoked_;
  std::uint64_t first_version_ = 0, foreign_version_ = 0, born_ = 0, twin_nonce_ = 0; // as node/cluster/cluster_unit has them
  std::map<machine_id, std::uint64_t> twins_met_; // who waits for the claim of another holder of our key; of the try
  std::uint64_t tries_ = 0;
  timer_id membership_timer_ = timer_id::none;
  mono_time membership_due_{};
  mono_time damped_until_{}, disk_failing_since_ = mono_time::max();
  bool keeper_ = false;
};

} // namespace skald::sim
