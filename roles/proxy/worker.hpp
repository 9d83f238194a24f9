#pragma once
// What the stages of one worker share. Made and owned by `core`; one thread.
#include "roles/core/authenticator.hpp"
#include "roles/core/names.hpp"
#include "roles/core/ports.hpp"
#include "roles/proxy/contexts.hpp"
#include "roles/proxy/edge_state.hpp"
#include "roles/proxy/keepalive.hpp"
#include "roles/proxy/server_resolver.hpp"

#include <memory>

namespace skald::roles {

struct worker {
  worker_env& env;
  registrar_port& registrar;
  authenticator& auth;
  server_resolver& resolver;
  contexts calls;
  edge_memory& flows;     // of the node
  dialog_memory& dialogs; // of the node
  scan_limit& scans;      // of the node
  keepalive pinger;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true); // false once the worker is gone: late answers look here

  worker(worker_env& e, registrar_port& r, authenticator& a, server_resolver& s, passage_observer& o, edge_state& edge)
      : env(e), registrar(r), auth(a), resolver(s), calls(e, s, o, edge.legs), flows(edge.flows), dialogs(edge.dialogs),
        scans(edge.scans), pinger(e, flows, calls) {}
  ~worker() { *alive = false; }

  // The index over the present facts; rebuilt when they were swapped.
  std::shared_ptr<const name_index> names() {
    facts_ptr now = env.cluster.facts();
    if (!names_ || names_->facts() != now) names_ = std::make_shared<const name_index>(std::move(now));
    return names_;
  }

private:
  std::shared_ptr<const name_index> names_;
};

} // namespace skald::roles
