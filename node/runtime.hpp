#pragma once
// A whole node: the composition root. Everything is made here, in the order in which it may be seen, and ended in the
// opposite one.
#include "certs/bundle.hpp"
#include "node/cluster/cluster_query.hpp"
#include "node/cluster/cluster_unit.hpp"
#include "node/cluster/overload_sign.hpp"
#include "node/config.hpp"
#include "node/control/control_routes.hpp"
#include "node/control/control_server.hpp"
#include "node/dns/dns_client.hpp"
#include "node/dns/dns_unit.hpp"
#include "node/io/socket_address.hpp"
#include "node/io/system_clock.hpp"
#include "node/io/system_rng.hpp"
#include "node/streams/bundle_tls.hpp"
#include "node/streams/phone_tls.hpp"
#include "node/worker/worker.hpp"
#include "node/worker/worker_unit.hpp"
#include "roles/core/replay.hpp"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace skald::node {

inline constexpr duration bundle_look = seconds(2);  // for a renewed certificate
inline constexpr duration overload_look = milliseconds(200); // at the level of this node's workers

// What one look at a draining node found. Cluster thread; the workers' part comes in by its queue.
struct drain_sight {
  std::set<std::string> ringing; // Call-IDs: both edges of a call may be here, at two workers
  std::size_t calls = 0, workers_heard = 0;
  bool calls_known = false;
};

class runtime {
public:
  runtime(node_config config, certs::bundle bundle);
  ~runtime();

  // Binds everything; a failure names what could not be had.
  outcome<void> start();
  // Until somebody asks to stop: SIGTERM or SIGINT (leaves first), `skald leave`, or the node itself. Returns the exit code.
  int run();
  std::string summary() const; // one line for the log: name, domain, addresses, ports

private:
  outcome<void> bind_workers();
  outcome<void> bind_links();
  outcome<void> start_control();
  dht::member_body body() const;
  dht::role_set permitted_roles() const;
  void on_facts();
  void adopt_bindings();
  void trust_changed(const std::string& crl);
  dht::role_set prepare_roles(dht::role_set wanted);
  outcome<dht::role_set> configured_roles() const;
  outcome<dht::role_set> named_roles(const std::vector<std::string>& names) const;
  outcome<bool> first_roles();
  outcome<dht::role_set> set_roles(const std::vector<std::string>& names);
  void watch_bundle();
  void watch_overload();
  void take_bundle();
  void drain_tick();
  void drain_judge(const std::shared_ptr<drain_sight>& seen);
  void stop_workers();
  nlohmann::json status_lines() const;
  control_services services();

  node_config config_;
  certs::bundle_ptr bundle_;
  std::vector<ip_address> addresses_;
  dht::role_set roles_;
  std::vector<std::string> roles_set_; // by hand, over the configured ones; empty: not
  std::string state_dir_, control_path_;
  owned_fd lock_; // let go of last: nobody else may use the state directory before everything here is closed
  system_clock clock_;
  trust_slot trust_;
  system_rng random_; // the cluster thread's
  loop cluster_loop_;
  worker_group group_;
  roles::replay_memory replays_;
  roles::edge_state edge_;
  std::unique_ptr<phone_tls> tls_;
  std::unique_ptr<load_watch> load_;
  overload_sign overload_;
  std::unique_ptr<dns_client> cluster_dns_;
  std::unique_ptr<cluster_unit> cluster_;
  std::unique_ptr<link_hub> links_;
  std::vector<std::unique_ptr<worker>> workers_;
  std::vector<std::unique_ptr<worker_unit>> units_;
  std::size_t next_link_worker_ = 0;
  std::unique_ptr<dns_unit> dns_;
  std::unique_ptr<control_routes> routes_;
  std::unique_ptr<cluster_query> query_;
  std::unique_ptr<control_server> control_;
  mono_time started_{};
  bool adopted_ = false;
  dht::view_ptr told_view_; // the last that the workers were told of
  std::int64_t bundle_seen_ = 0; // the bundle file's time of change, in ns
  drain_progress drain_left_;
  int drain_quiet_ = 0;          // looks in a row that found nothing
  std::atomic<bool> abandoned_{false}; // the process ends, and the node lives on elsewhere: no leaving
};

} // namespace skald::node
