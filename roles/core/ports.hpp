#pragma once
// What the roles of one worker stand on. Everything here is called on the worker's own thread, and calls back on it.
#include "base/clock.hpp"
#include "base/key_ring.hpp"
#include "base/rng.hpp"
#include "base/scheduler.hpp"
#include "dht/ring/ring.hpp"
#include "dht/store/store.hpp"
#include "dht/view/base.hpp"
#include "dht/view/view.hpp"
#include "roles/core/settings.hpp"
#include "sip/flow.hpp"
#include "sip/message/message.hpp"
#include "sip/resolve/dns.hpp"
#include "sip/token/token.hpp"
#include "sip/transaction/layer.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skald::roles {

// The cluster as of one instant: immutable, swapped whole on every change of the view, the keys or the settings.
struct cluster_facts {
  dht::view_ptr view;
  dht::ring_ptr registrars;               // serving ring of the `registrar` role: owner and copies of a subscriber
  std::shared_ptr<const key_ring> keys;
  std::shared_ptr<const settings> config; // cluster settings, defaults filled in
  bool serving = false;                   // this node is active (or draining), neither isolated nor in doubt of its view
  bool names_in_dns = false;              // our own host names were seen in DNS: they may stand in Record-Route
  std::shared_ptr<const dht::base> base = std::make_shared<dht::base>(); // whom majorities are counted by
  bool isolated = false;                  // alone in the view, with a base of three or more (consistency.md §7)
};
using facts_ptr = std::shared_ptr<const cluster_facts>;

class cluster_port {
public:
  virtual ~cluster_port() = default;
  virtual facts_ptr facts() const = 0; // one atomic load
  virtual dht::store_api& store() = 0;
  // A node sent us what we own less than it thinks: its view and ours differ, and should be compared. Any thread.
  virtual void views_differ(const node_id& peer) { static_cast<void>(peer); }
};

// What the transport knows of a live flow.
struct flow_facts {
  std::string sni;        // TLS: the server name the peer asked for
  node_id peer{};         // links: the node at the other end
};

// Opens flows and hands things to other workers. Sending is sip::message_sender's.
class flow_port {
public:
  virtual ~flow_port() = default;
  // Reuses an open flow to that very target or opens one; nullopt: could not (refused, no route, TLS not verified, 4 s).
  // `done` may be called before open() returns.
  virtual void open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) = 0;
  virtual void open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) = 0;
  virtual std::optional<flow_facts> facts(const sip::flow& f) const = 0; // nullopt: gone, or another worker's
  // The address of ours to write into Via for messages on this flow (--advertise already applied).
  virtual endpoint advertised(const sip::flow& f) const = 0;
  // Runs `what` on that worker, soon.
  virtual void run_on(std::uint16_t worker, std::move_only_function<void()> what) = 0;
  virtual std::uint16_t worker_count() const = 0;
  // The flow to a UA that a token of ours describes, if it can be used from this node: UDP always, a stream if the
  // connection is open (on whichever worker).
  virtual bool alive(const sip::flow& f) const = 0;
};

struct worker_env {
  std::uint16_t worker = 0;
  const skald::clock& clock;
  skald::scheduler& timers;
  skald::rng& random;
  cluster_port& cluster;
  flow_port& flows;
  sip::message_sender& sender;
  sip::transaction_layer* transactions; // set right after construction (the layer needs its user first)
  sip::dns_port& dns;
};

// The seam between `term` and the registrar: a REGISTER at its owner, authenticated or not yet. The topmost Path value
// is ours (the edge's token) and tells transport, addresses and edge. `reply` is called once, maybe later. `again`: another owner may have begun it.
// `not_owner`: the AoR
// has another owner now, or this one may not act as it just now: nothing was acknowledged, and the request may go there; the
// response (500) is for who does not want that.
class registrar_port {
public:
  virtual ~registrar_port() = default;
  virtual void handle(sip::message request, bool again, std::move_only_function<void(sip::message response, bool not_owner)> reply) = 0;
  // Told of each binding that an acknowledged registration took from one flow to another, or removed by another flow: its
  // former edge has to hear of it (sip.md §6). Set once, before the first request.
  struct moved_binding {
    sip::token flow; // the former one, of a path token
    std::uint64_t binding_id = 0;
    bool removed = false; // there is no newer flow
  };
  virtual void on_moved(std::function<void(const moved_binding&)> hook) = 0;
};

} // namespace skald::roles
