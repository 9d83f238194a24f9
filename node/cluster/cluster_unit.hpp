#pragma once
// This node's part in the cluster, on the cluster thread: mesh, directory, membership, links, store, and what follows
// from them: the facts that workers see, and joining, serving, leaving.
//
// Life: construct, start() (binds ports, loads state, begins to join), run the loop; leave() or just stop.
#include "base/guarded.hpp"
#include "certs/bundle.hpp"
#include "certs/peer.hpp"
#include "certs/revocation.hpp"
#include "dht/directory/opendht_directory.hpp"
#include "dht/directory/record.hpp"
#include "dht/mesh/mesh.hpp"
#include "dht/ring/rings.hpp"
#include "dht/store/replicated.hpp"
#include "dht/swim/membership.hpp"
#include "node/cluster/cluster_life.hpp"
#include "node/cluster/cluster_query.hpp"
#include "node/cluster/role_choice.hpp"
#include "node/cluster/seeds.hpp"
#include "node/cluster/shared_state.hpp"
#include "node/cluster/twin_claim.hpp"
#include "node/config.hpp"
#include "node/disk/append_log.hpp"
#include "node/disk/small_file.hpp"
#include "node/disk/sqlite_table.hpp"
#include "node/io/loop.hpp"
#include "node/streams/link_hub.hpp"
#include "roles/core/ports.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace skald::node {

struct cluster_unit_config {
  node_config node;
  certs::bundle_ptr bundle;
  std::string state_dir;
  std::vector<ip_address> addresses; // to bind
  dht::member_body body;             // what this node says of itself; version is filled in here
  bool auto_roles = false;           // claim what too few nodes hold
};

class cluster_unit final : public roles::cluster_port,
                           public dht::datagrams,
                           public dht::link_user,
                           public dht::membership_observer,
                           life_port {
public:
  // `dns` may be nullptr (numeric seeds only). `changed`: called on the cluster thread whenever the facts are new.
  cluster_unit(cluster_unit_config config, loop& events, const clock& clk, rng& random, sip::dns_port* dns,
               std::function<void()> changed);
  ~cluster_unit() override;

  // For stream_setup: where a node's link port is. Any thread.
  std::optional<endpoint> link_address(const node_id& id) const;

  // `links` is bound, not started. Everything here lives until the loop has stopped.
  outcome<void> start(link_hub& links);
  // Draining, handing over, telling everybody; then `done`. At most leave_deadline.
  void leave(std::move_only_function<void()> done) { life_->leave(std::move(done)); }
  // Saves what a restart wants to know. The last call, on the cluster thread, before the loop stops.
  void stop();
  // Called when this process has to end by itself, without leaving: the same bundle runs elsewhere, and goes on.
  std::function<void()> stop_asked;

  // Called with each new revocation list (DER): whoever judges certificates goes by it from then on.
  std::function<void(const std::string& crl)> trust_changed;
  // True: it was new, and is on its way to all others. The failure: the CA did not sign it.
  outcome<bool> take_revocations(std::string_view der);
  const certs::revocation_list& revocations() const { return revocations_; }
  // The same key under a renewed certificate; no session or link ends by it.
  outcome<void> set_identity(certs::bundle_ptr renewed);

  // Roles are claimed and let go of while the node runs. `set_roles`: by hand; automatic claims end then.
  void set_roles(dht::role_set roles);
  void set_auto_roles() { config_.auto_roles = true; }
  dht::role_set roles() const { return config_.body.roles; }
  dht::role_set permitted() const { return dht::permitted_roles(config_.bundle->roles); }
  // What all are told of this node, for DNS (overload_sign).
  void set_overloaded(bool is);
  // Asked before roles are claimed: returns those that can be had (a port may be taken). Also told what is let go of.
  std::function<dht::role_set(dht::role_set)> prepare_roles;

  // `skald drain`: out of DNS and of the rings, nothing new; leave() is called when what runs has ended.
  void drain() { life_->drain(); }
  bool draining() const { return life_->draining(); }
  std::string half_dead() const { return life_->half_dead(); } // why this node stepped back by itself; empty: it did not
  bool clock_wrong() const { return clock_wrong_; }

  // roles::cluster_port; any thread.
  roles::facts_ptr facts() const override { return facts_.load(); }
  dht::store_api& store() override { return *store_; }
  void views_differ(const node_id& peer) override;

  dht::store& whole_store() { return *store_; }
  shared_state& shared() { return *shared_; }
  void set_query(cluster_query& q) { query_ = &q; }
  void set_names_in_dns(bool seen) { life_->set_names_in_dns(seen); }
  std::string waiting_for() const { return life_->waiting_for(); } // why this node is not active yet; empty if it is
  milliseconds clock_deviation() const { return membership_->time().deviation(); }
  std::size_t mesh_peers() const { return mesh_->peers().size(); }
  const dht::base_keeper& base_known() const { return membership_->base_known(); }
  void accept_base() { life_->accept_base(); } // `skald base --accept`

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

  // cluster_unit.cpp: what carries
  outcome<void> open_state();
  outcome<void> start_mesh();
  void start_membership();
  outcome<void> start_store();
  void start_directory();
  void membership_turn();
  void arm_membership();
  void on_gossip(const node_id& from, std::string_view bytes);
  void on_peer(const dht::mesh_peer& peer);
  void take_record(const node_id& from, std::string_view record);
  bool take_entry(const dht::directory_entry& e); // false: older than what is known
  void take_own_entry(const dht::directory_entry& e);
  void renew_body(std::uint64_t above);

  // cluster_revocation.cpp
  bool is_revoked(std::string_view certificate_der) const;
  certs::trust trust() const;
  outcome<void> load_revocations();
  void send_revocations(const node_id& to);
  void tell_revocations(const node_id& peer);
  void flood_revocations();
  void apply_revocations();
  void on_revocations(std::string_view der);

  // cluster_watch.cpp: what this node sees of itself
  void watch_tick();
  void judge_clock();
  void judge_roles();
  void change_roles(dht::role_set roles);

  // cluster_twin.cpp: the same bundle, started twice
  twin_claim own_claim() const;
  void on_twin(const endpoint& at, std::string_view claim);
  void on_doubled(const endpoint& before, const endpoint& now);
  void on_seen_elsewhere(std::string_view text);
  void outdo();
  bool is_own(const endpoint& at) const;
  void read_directory();

  // cluster_machine.cpp: what life asks for
  dht::ring_pair rings_for(const dht::view& v) override;
  void look_for_seeds(bool again) override;
  std::string seeds_asked() const override;
  std::vector<node_id> mesh_peer_ids() const override;
  bool address_known(const node_id& id) const override { return link_address(id).has_value(); }
  void want_record(const node_id& id) override { on_body_wanted(id, 0); }
  bool hears(const node_id& id) const override { return mesh_->has_session(id); }
  bool links_fail(const node_id& id) override;
  void drop_links(const node_id& id) override { links_->disconnect(id); }
  void membership_changed() override { arm_membership(); }
  void write_memory() override;
  void facts_changed(roles::facts_ptr f, bool keeper) override;
  void note(log::level l, std::string_view text) override { log::write(l, "membership", text); }
  void set_profile(const std::string& name);
  dht::view_ptr view() const { return life_ ? life_->view() : nullptr; }

  cluster_unit_config config_;
  loop& events_;
  const clock& clock_;
  rng& random_;
  sip::dns_port* dns_;
  std::function<void()> changed_;

  std::unique_ptr<sqlite_table> durable_;
  std::unique_ptr<append_log> log_;
  std::unique_ptr<small_file> memory_; // of the store's lists and sources
  link_hub* links_ = nullptr;
  std::unique_ptr<dht::mesh> mesh_;
  std::unique_ptr<dht::membership> membership_;
  std::unique_ptr<dht::store> store_;
  std::unique_ptr<shared_state> shared_;
  std::unique_ptr<cluster_life> life_;
  std::unique_ptr<dht::opendht_directory> directory_;
  cluster_query* query_ = nullptr;
  dht::rings rings_;
  std::unique_ptr<seed_finder> seeds_;

  std::atomic<roles::facts_ptr> facts_;
  guarded<std::unordered_map<node_id, endpoint>> link_addresses_;
  std::unordered_map<node_id, std::uint64_t> versions_; // of the members' bodies
  std::map<node_id, std::string> records_; // newest signed record of each member, for those who ask
  std::string own_record_;
  std::uint64_t first_version_ = 0, foreign_version_ = 0; // of this process' first body; of another's under this id
  std::uint64_t born_ = 0, twin_nonce_ = 0;               // what twins are told apart by
  certs::revocation_list revocations_;
  std::string revocations_der_;
  bool clock_wrong_ = false;
  role_choice choice_;

  // What the last life left: known_life_ 0 and a base without epoch where there was none.
  std::uint64_t known_life_ = 0, known_version_ = 0;
  dht::base known_base_;
  std::string profile_ = "lan"; // the setting, as last known: a start does not wait for it
  std::vector<endpoint> remembered_peers_;

  timer_id membership_timer_ = timer_id::none;
  mono_time membership_due_{};
};

inline constexpr duration directory_period = std::chrono::minutes(10);
// Nodes of which an address is kept, members and others: over it those that are no members are forgotten.
inline constexpr std::size_t link_addresses_max = 2 * dht::members_max;

} // namespace skald::node
