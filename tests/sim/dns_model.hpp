#pragma once
// A DNS server that knows RFC 2136 as far as the publisher uses it (unsigned; compare-and-swap by prerequisites), and the
// ways to it: a node's and a phone's questions, and the publisher's exchanges, each of which may be lost.
#include "base/scheduler.hpp"
#include "dnsupdate/name_server.hpp"
#include "dnsupdate/wire.hpp"
#include "dnsupdate/zone_reader.hpp"
#include "sip/resolve/dns.hpp"
#include "tests/sim/world.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skald::sim {

class dns_model {
public:
  dns_model(world& w, std::string domain);

  std::string answer(const std::string& wire); // as over TCP: never cut, never limited
  const std::vector<dnsupdate::record>& zone() const { return zone_; }
  std::vector<dnsupdate::record> set_of(const std::string& name, dnsupdate::rr_type type) const;
  std::uint64_t updates() const { return updates_; } // carried out
  // Told of each update that was carried out, after it.
  std::function<void()> updated;

  double loss = 0; // of a question or its answer
  world& time;
  const std::string domain;
  static endpoint address() { return *endpoint::parse("192.0.2.53:53"); }

private:
  std::uint16_t apply(const dnsupdate::update_seen& u);
  bool prerequisites_hold(const dnsupdate::update_seen& u) const;
  void reload();

  seeded_rng random_;
  dnsupdate::name_server server_;
  std::vector<dnsupdate::record> zone_;
  std::uint32_t serial_ = 1;
  std::uint64_t updates_ = 0;
};

// One asker's way to the server. Answers come by `deliver`, which may drop them (its process died meanwhile).
class dns_way final : public sip::dns_port, public dnsupdate::exchange_port {
public:
  using delivery = std::function<void(std::move_only_function<void()>)>;
  dns_way(dns_model& server, rng& random, delivery deliver) : server_(server), random_(random), deliver_(std::move(deliver)) {}

  // sip::dns_port: three tries, as a resolver library makes them.
  void query(std::string name, sip::dns_type type, sip::dns_port::callback done) override;
  // dnsupdate::exchange_port: one try.
  void exchange(const endpoint& server, std::string wire, bool tcp, dnsupdate::exchange_port::callback done) override;

private:
  void ask(std::string name, sip::dns_type type, int tries, sip::dns_port::callback done);

  dns_model& server_;
  rng& random_;
  delivery deliver_;
};

} // namespace skald::sim
