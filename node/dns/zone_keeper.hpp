#pragma once
// What this node has to do with the cluster's DNS zone, without I/O: the zone that follows from the facts, for the
// embedded server; the publisher, when this node owns the zone's key and a server is set; and the look whether our own
// names can be seen (design §7, sip.md §2, §10). Cluster thread. The simulation has it as it is.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/scheduler.hpp"
#include "dnsupdate/dead_names.hpp"
#include "dnsupdate/name_server.hpp"
#include "dnsupdate/publisher.hpp"
#include "dnsupdate/split_rule.hpp"
#include "dnsupdate/zone.hpp"
#include "roles/core/ports.hpp"
#include "sip/resolve/dns.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skald::node {

class zone_keeper {
public:
  // `client` asks what phones would see. `store` has the names of the dead, and is asked for from the first facts on.
  // `names_seen` is told when our own names appear in or vanish from DNS. All that is referred to outlives the keeper.
  zone_keeper(dnsupdate::exchange_port& exchange, scheduler& timers, const clock& clk, rng& random, sip::dns_port& client,
              std::function<dht::store_api&()> store, std::function<void(bool)> names_seen);
  ~zone_keeper();

  void start(); // begins to look
  void set_serves(bool serves); // the role `dns` is held, and its port
  // After every change of the facts. `public_tls`: phones see a public certificate, so SIPS comes first in NAPTR.
  void on_facts(const roles::facts_ptr& facts, bool public_tls);

  dnsupdate::name_server& server() { return server_; }
  const roles::facts_ptr& facts() const { return facts_; } // null before the first ones
  const std::string& domain() const { return domain_; }
  bool public_tls() const { return public_tls_; }
  bool serving() const { return serving_; }                // the embedded server answers
  std::uint32_t serial() const { return serial_; }
  const std::vector<dnsupdate::record>& wanted() const { return wanted_; }
  const std::vector<dnsupdate::record>& own_zone() const { return own_zone_; }
  const std::optional<endpoint>& server_at() const { return server_at_; }
  bool publishing() const { return publishing_; }
  const dnsupdate::publisher_status& status() const { return publisher_.status(); }
  std::string publisher_name() const; // by this node's view; empty: not known

private:
  struct one_look {
    int missing = 0;
    bool answered = false, found = false;
  };
  const node_id* zone_owner() const;
  bool trustworthy() const;
  void rebuild();
  bool mine() const;
  dnsupdate::dead_names::duty dead_duty() const;
  void direct_publisher();
  void tick();
  void look();
  void looked(one_look& round, const sip::dns_answer& a);

  scheduler& timers_;
  const clock& clock_;
  sip::dns_port& client_;
  std::function<dht::store_api&()> store_;
  std::function<void(bool)> names_seen_;
  dnsupdate::name_server server_;
  dnsupdate::publisher publisher_;
  roles::facts_ptr facts_;
  bool serves_ = false, public_tls_ = false, serving_ = false, publishing_ = false;
  std::string domain_;
  std::optional<endpoint> server_at_;
  std::optional<dnsupdate::dead_names> dead_; // with the first facts: they name the domain
  dnsupdate::split_rule split_;
  std::vector<dnsupdate::record> wanted_, own_zone_;
  std::uint32_t serial_ = 0;
  int unknown_looks_ = 0;
  timer_id tick_timer_ = timer_id::none;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace skald::node
