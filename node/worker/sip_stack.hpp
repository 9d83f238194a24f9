#pragma once
// All of a worker that stands above its I/O: what is turned away before it costs anything, the transaction layer, the
// registrar and the proxy core, put together. No I/O: the worker of a node has one, and each simulated machine.
#include "roles/core/admission.hpp"
#include "roles/core/authenticator.hpp"
#include "roles/core/refusals.hpp"
#include "roles/core/replay.hpp"
#include "roles/proxy/core.hpp"
#include "roles/proxy/edge_state.hpp"
#include "roles/proxy/server_resolver.hpp"
#include "roles/registrar/registrar.hpp"
#include "sip/resolve/dns_cache.hpp"
#include "sip/resolve/resolver.hpp"
#include "sip/transaction/layer.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::node {

// RFC 3263 for the proxy's `out` stage: sip::resolver behind the port that the roles know.
class sip_resolver final : public roles::server_resolver {
public:
  sip_resolver(sip::dns_port& dns, rng& random) : resolver_(dns, random) {}
  void resolve(std::string uri, std::move_only_function<void(std::vector<sip::target>)> done) override;

private:
  sip::resolver resolver_;
};

// What a stack stands on; all of it outlives the stack.
struct sip_stack_ports {
  std::uint16_t worker = 0;
  const skald::clock& clock;
  scheduler& timers;
  rng& random;
  roles::cluster_port& cluster;
  roles::flow_port& flows;
  sip::message_sender& sender;
  sip::dns_port& dns; // uncached
  roles::replay_memory& replays; // of all workers of the node
  roles::edge_state& edge;       // likewise
};

// Port: where calls wait for their turn. Called by the stack, on its thread.
class request_keeper {
public:
  // Whether it may be done now.
  virtual bool at_once(roles::urgency u, const sip::arrival& from) = 0;
  // To be given to sip_stack::take() or turn_away() later. Also what there is no room for: that is turned away at once.
  virtual void keep(roles::urgency u, sip::message m, const sip::arrival& from) = 0;

protected:
  ~request_keeper() = default;
};

// One thread.
class sip_stack {
public:
  explicit sip_stack(const sip_stack_ports& ports);

  // Parsed, and stamped with received and rport (not on links); not yet validated.
  void receive(sip::message m, const sip::arrival& from);
  // Without one nothing waits.
  void set_keeper(request_keeper& k) { keeper_ = &k; }
  // What was kept, and has its turn.
  void take(sip::message m, const sip::arrival& from);
  // What is turned away because of overload: counted, and answered or not.
  void turn_away(sip::message m, const sip::arrival& from, roles::urgency u, roles::fate how);
  void turn_away(std::string bytes, const sip::arrival& from, roles::urgency u, roles::fate how); // unread
  // Of the room for transactions, registrations are kept from the last quarter, calls from the last tenth.
  bool has_room(roles::urgency u) const;
  // Where there are no lines: before a datagram is parsed. False: there is no room for it.
  bool hears(const ip_address& source, std::string_view bytes);
  void flow_gone(const sip::flow& f);

  roles::core& core() { return core_; }
  roles::admission& admission() { return admission_; }
  std::size_t transactions() const { return transactions_.size(); }

private:
  bool refused_before(const sip::message& m, const sip::arrival& from);
  void refuse(const sip::message& request, const sip::arrival& from, int status, std::string_view reason);

  sip::message_sender& sender_;
  request_keeper* keeper_ = nullptr;
  roles::admission admission_;
  roles::refusals refusals_;
  sip::dns_cache cache_;
  roles::worker_env env_;
  roles::authenticator auth_;
  roles::registrar registrar_;
  sip_resolver resolver_;
  roles::core core_;
  sip::transaction_layer transactions_;
};

} // namespace skald::node
