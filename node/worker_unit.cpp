#include "node/worker_unit.hpp"

namespace skald::node {

outcome<std::unique_ptr<worker_unit>> worker_unit::make(worker& io, const clock& clk, roles::cluster_port& cluster,
                                                        roles::replay_memory& replays, roles::edge_state& edge) {
  auto dns = dns_client::make(io.events());
  if (!dns) return std::unexpected(dns.error());
  return std::unique_ptr<worker_unit>(new worker_unit(io, clk, cluster, replays, edge, std::move(*dns)));
}

worker_unit::worker_unit(worker& io, const clock& clk, roles::cluster_port& cluster, roles::replay_memory& replays,
                         roles::edge_state& edge, std::unique_ptr<dns_client> dns)
    : io_(io), clock_(clk), dns_(std::move(dns)),
      stack_({io.config().index, clk, io.events().timers(), random_, cluster, io, io, *dns_, replays, edge}) {
  io_.set_user(*this);
  watch_load();
}

worker_unit::~worker_unit() { io_.events().timers().cancel(load_timer_); }

// The timer is late by as long as the worker's turn lasted: that long, what came by streams and links waited.
void worker_unit::watch_load() {
  const mono_time due = clock_.now() + roles::admission_interval;
  load_timer_ = io_.events().timers().at(due, [this, due] {
    load_signs& load = io_.group().load;
    roles::admission& admission = stack_.admission();
    const mono_time now = clock_.now();
    admission.tick(std::max(now - due, load.cluster_waits(now)), load.floor());
    load.tell(io_.config().index, admission.level());
    watch_load();
  });
}

} // namespace skald::node
