#pragma once
// One worker whole: the I/O of `worker`, and over it the transaction layer, the registrar and the proxy core.
#include "node/dns_client.hpp"
#include "node/system_rng.hpp"
#include "node/worker.hpp"
#include "roles/core/admission.hpp"
#include "roles/core/authenticator.hpp"
#include "roles/core/replay.hpp"
#include "roles/proxy/core.hpp"
#include "roles/proxy/leg_index.hpp"
#include "roles/proxy/server_resolver.hpp"
#include "roles/registrar/registrar.hpp"
#include "sip/resolve/dns_cache.hpp"
#include "sip/resolve/resolver.hpp"
#include "sip/transaction/layer.hpp"

#include <memory>

namespace skald::node {

// RFC 3263 for the proxy's `out` stage: sip::resolver behind the port that the roles know.
class sip_resolver final : public roles::server_resolver {
public:
  sip_resolver(sip::dns_port& dns, rng& random) : resolver_(dns, random) {}
  void resolve(std::string uri, std::move_only_function<void(std::vector<sip::target>)> done) override;

private:
  sip::resolver resolver_;
};

class worker_unit final : worker_user {
public:
  // All arguments outlive the unit. Made on the starting thread, before the worker starts.
  static outcome<std::unique_ptr<worker_unit>> make(worker& io, const clock& clk, roles::cluster_port& cluster,
                                                    roles::replay_memory& replays, roles::leg_index& legs);

  ~worker_unit();

  roles::core& core() { return core_; }

private:
  worker_unit(worker& io, const clock& clk, roles::cluster_port& cluster, roles::replay_memory& replays,
              roles::leg_index& legs, std::unique_ptr<dns_client> dns);

  void on_message(sip::message m, const sip::arrival& from) override;
  void on_waited(duration d) override { admission_.waited(d); }
  bool hears(const ip_address& source, std::string_view bytes) override;
  void on_flow_gone(const sip::flow& f) override;
  void watch_load();
  bool admitted(const sip::message& request, const sip::arrival& from);
  void refuse(const sip::message& request, const sip::arrival& from, int status, std::string_view reason);

  worker& io_;
  system_rng random_;
  roles::admission admission_{random_};
  timer_id load_timer_ = timer_id::none;
  std::unique_ptr<dns_client> dns_;
  sip::dns_cache cache_;
  roles::worker_env env_;
  roles::authenticator auth_;
  roles::registrar registrar_;
  sip_resolver resolver_;
  roles::core core_;
  sip::transaction_layer transactions_;
};

} // namespace skald::node
