#pragma once
// SIP and DNS of a simulated process: the production SIP stack and zone keeper over simulated links, the wire to phones,
// and the model DNS server, composed as node/worker/worker, node/dns/dns_unit and node/runtime do it. One worker.
#include "dht/store/replicated.hpp"
#include "node/dns/zone_keeper.hpp"
#include "node/worker/sip_stack.hpp"
#include "roles/core/ports.hpp"
#include "tests/sim/dns_model.hpp"
#include "tests/sim/sip_links.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace skald::sim {

class process;
class sip_world;

class sip_machine final : roles::flow_port, sip::message_sender, sip_link_user {
public:
  struct surroundings {
    sip_world& world;
    process& home;
    scheduler& timers;
    rng& random;
    std::function<std::optional<machine_id>(const node_id&)> where_is; // whose link address is known
    std::function<void(bool)> names_seen;
  };
  explicit sip_machine(surroundings around);
  ~sip_machine() override;

  void on_facts(const roles::facts_ptr& facts);
  void on_datagram(const endpoint& from, const endpoint& to, std::string bytes);
  sip_links& links() { return links_; }
  node::sip_stack& stack() { return *stack_; }
  const node::zone_keeper& zone() const { return *zone_; }

private:
  // roles::flow_port
  void open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) override;
  void open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) override;
  std::optional<roles::flow_facts> facts(const sip::flow& f) const override;
  endpoint advertised(const sip::flow& f) const override;
  void run_on(std::uint16_t worker, std::move_only_function<void()> what) override;
  std::uint16_t worker_count() const override { return 1; }
  bool alive(const sip::flow& f) const override;
  // sip::message_sender
  bool send(const sip::flow& where, std::string_view bytes) override;
  // sip_link_user
  void on_link_message(std::string bytes, const sip::arrival& from) override;
  void on_link_gone(const sip::flow& f) override { stack_->flow_gone(f); }

  void adopt_bindings();
  void take_bindings(machine_id of);

  std::shared_ptr<int> alive_ = std::make_shared<int>(); // before all that asks for it
  surroundings around_;
  endpoint sip_at_, link_at_;
  sip_links links_;
  dns_way dns_;
  std::unique_ptr<roles::cluster_port> wrapped_cluster_;  // perverted by a planted bug, or nothing
  std::unique_ptr<sip::message_sender> wrapped_sender_;   // the same
  std::unique_ptr<dnsupdate::exchange_port> wrapped_dns_; // the same
  roles::replay_memory replays_;
  roles::edge_state edge_;
  std::unique_ptr<node::sip_stack> stack_;
  std::unique_ptr<node::zone_keeper> zone_;
  dht::view_ptr told_view_;
  bool adopted_ = false;
};

} // namespace skald::sim
