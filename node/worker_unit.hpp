#pragma once
// One worker whole: the I/O of `worker`, and over it the SIP stack.
#include "node/dns_client.hpp"
#include "node/sip_stack.hpp"
#include "node/system_rng.hpp"
#include "node/worker.hpp"

#include <memory>

namespace skald::node {

class worker_unit final : worker_user {
public:
  // All arguments outlive the unit. Made on the starting thread, before the worker starts.
  static outcome<std::unique_ptr<worker_unit>> make(worker& io, const clock& clk, roles::cluster_port& cluster,
                                                    roles::replay_memory& replays, roles::edge_state& edge);

  ~worker_unit();

  roles::core& core() { return stack_.core(); }

private:
  worker_unit(worker& io, const clock& clk, roles::cluster_port& cluster, roles::replay_memory& replays,
              roles::edge_state& edge, std::unique_ptr<dns_client> dns);

  void on_message(sip::message m, const sip::arrival& from) override { stack_.receive(std::move(m), from); }
  void on_waited(duration d) override { stack_.admission().waited(d); }
  bool hears(const ip_address& source, std::string_view bytes) override { return stack_.hears(source, bytes); }
  void on_flow_gone(const sip::flow& f) override { stack_.flow_gone(f); }
  void watch_load();

  worker& io_;
  const clock& clock_;
  system_rng random_;
  timer_id load_timer_ = timer_id::none;
  std::unique_ptr<dns_client> dns_;
  sip_stack stack_;
};

} // namespace skald::node
