#pragma once
// This node's part in DNS, on the cluster thread: the embedded server for the role `dns`, the publisher when this node
// owns the zone's key and a server is set, and the look whether our own names can be seen (design §7, sip.md §2, §10).
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "node/io/loop.hpp"
#include "roles/core/ports.hpp"
#include "sip/resolve/dns.hpp"

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace skald::node {

struct dns_unit_config {
  std::vector<ip_address> addresses; // to serve on
  std::uint16_t port = 53;
  bool serve = true;                 // the role `dns`
};

class dns_unit {
public:
  // `client` asks what phones would see. `store` is asked for from the first facts on. `names_seen` is told when our own
  // names appear in or vanish from DNS.
  dns_unit(dns_unit_config config, loop& events, const clock& clk, rng& random, sip::dns_port& client,
           std::function<dht::store_api&()> store, std::function<void(bool)> names_seen);
  ~dns_unit();

  // The ports of the embedded server. A failure means: go on without the role dns, with a warning.
  outcome<void> bind();
  void start();
  // The role `dns` was claimed, or let go of, while the node runs. A failure: the port is taken; nothing has changed.
  outcome<void> set_role(bool holds);
  // After every change of the facts. `public_tls`: phones see a public certificate, so SIPS comes first in NAPTR.
  void on_facts(const roles::facts_ptr& facts, bool public_tls);
  // `skald dns`: {"state", "publisher", "server", ..., "records": [{name, ttl_s, type, data, published}]};
  // with setup: {"setup": text}.
  nlohmann::json status(bool setup) const;

  struct impl;

private:
  std::unique_ptr<impl> impl_;
};

} // namespace skald::node
