#include "node/dns/dns_unit.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "dnsupdate/setup_text.hpp"
#include "node/dns/dns_exchange.hpp"
#include "node/dns/dns_sockets.hpp"
#include "node/dns/zone_keeper.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {
namespace {

using nlohmann::json;
namespace du = dnsupdate;

constexpr duration server_read_again = seconds(5); // by a node that does not publish, when an operator asks

} // namespace

struct dns_unit::impl {
  impl(dns_unit_config c, loop& on, const clock& clk, rng& r, sip::dns_port& client, std::function<dht::store_api&()> store,
       std::function<void(bool)> seen)
      : config(std::move(c)), events(on), random(r), exchange(on), keeper(exchange, on.timers(), clk, r, client, std::move(store), std::move(seen)),
        sockets(on, keeper.server()) {}
  ~impl() { *alive = false; }

  bool serves() const { return config.serve && bound; }

  // ---- what operators see

  // A node that does not publish looks at the server itself, so that each can tell what is published.
  void read_server() {
    if (keeper.publishing() || !keeper.server_at() || reader || events.now() - read_at < server_read_again) return;
    read_at = events.now();
    reader = std::make_unique<du::zone_reader>(exchange, random, *keeper.server_at(), keeper.domain(), du::hosts_in(keeper.domain(), keeper.wanted()), [this](auto got) {
      read = std::move(got);
      read_done = true;
      events.timers().at(events.now(), [this, alive = alive] { // not inside its own call
        if (*alive) reader.reset();
      });
    });
    reader->start();
  }

  std::string state() const {
    if (!keeper.server_at()) return serves() ? (keeper.serving() ? "embedded" : "embedded, no active edge") : "off";
    return keeper.publishing() ? std::string(du::to_string(keeper.status().state)) : "standby";
  }

  json records() const {
    const std::vector<du::record>* seen = nullptr;
    if (keeper.publishing()) seen = &keeper.status().seen;
    else if (keeper.server_at() && read_done && read) seen = &read->records;
    json out = json::array();
    for (const du::record& r : keeper.server_at() ? keeper.wanted() : keeper.own_zone()) {
      json row{{"name", r.name}, {"ttl_s", r.ttl}, {"type", du::to_string(r.type)}, {"data", r.type == du::rr_type::soa ? soa_text(r) : du::data_text(r)}};
      if (!keeper.server_at()) row["published"] = serves() && keeper.serving();
      else if (seen == nullptr) row["published"] = nullptr;
      else row["published"] = std::ranges::any_of(*seen, [&](const du::record& s) { return s.same_data(r); });
      out.push_back(std::move(row));
    }
    return out;
  }

  std::string soa_text(const du::record& r) const {
    auto soa = du::read_soa(r);
    if (!soa) return du::data_text(r);
    soa->serial = keeper.serial();
    return du::data_text(du::soa_record(r.name, r.ttl, *soa));
  }

  json status() {
    read_server();
    const du::publisher_status& p = keeper.status();
    std::string problem = p.last_error;
    if (!keeper.publishing() && keeper.server_at() && read_done && !read) problem = read.error().text;
    if (!keeper.facts()->config->dns_server.empty() && !keeper.server_at()) problem = "the setting dns.server is no IP:PORT";
    std::vector<du::record> foreign = p.foreign;
    if (!keeper.publishing() && keeper.server_at() && read_done && read) foreign = du::compare(keeper.domain(), keeper.wanted(), read->records).foreign;
    json lines = json::array();
    for (const du::record& r : foreign) lines.push_back(du::line_text(r));
    for (const std::string& h : p.withheld) lines.push_back(h + ": this name is somebody else's; the node is not published");
    return {{"state", state()}, {"publisher", keeper.server_at() ? keeper.publisher_name() : ""}, {"server", keeper.server_at() ? keeper.server_at()->text() : ""},
            {"zone", p.zone.empty() ? (read_done && read ? read->zone : keeper.domain()) : p.zone}, {"embedded", serves()},
            {"foreign", lines}, {"last_error", problem}, {"warning", p.warning}, {"records", records()}};
  }

  std::string setup() const {
    const roles::settings& s = *keeper.facts()->config;
    std::vector<std::string> others;
    for (const std::string& d : s.domains)
      if (!equal_nocase(d, keeper.domain())) others.push_back(d);
    return du::setup_text({*keeper.facts()->view, keeper.domain(), std::move(others), s.dns_server, s.dns_tsig_name, s.dns_tsig_algorithm, keeper.public_tls()});
  }

  dns_unit_config config;
  loop& events;
  rng& random;
  dns_exchange exchange;
  zone_keeper keeper;
  dns_sockets sockets;
  std::unique_ptr<du::zone_reader> reader;
  std::expected<du::zone_seen, du::publish_problem> read;
  mono_time read_at{};
  bool read_done = false, bound = false;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

dns_unit::dns_unit(dns_unit_config config, loop& events, const clock& clk, rng& random, sip::dns_port& client,
                   std::function<dht::store_api&()> store, std::function<void(bool)> names_seen)
    : impl_(std::make_unique<impl>(std::move(config), events, clk, random, client, std::move(store), std::move(names_seen))) {}
dns_unit::~dns_unit() = default;

outcome<void> dns_unit::bind() {
  if (!impl_->config.serve) return {};
  auto bound = impl_->sockets.bind(impl_->config.addresses, impl_->config.port);
  impl_->bound = bound.has_value();
  impl_->keeper.set_serves(impl_->serves());
  return bound;
}

outcome<void> dns_unit::set_role(bool holds) {
  if (holds && !impl_->bound) {
    auto bound = impl_->sockets.bind(impl_->config.addresses, impl_->config.port);
    if (!bound) return bound;
    impl_->bound = true;
    impl_->sockets.start();
  }
  impl_->config.serve = holds;
  impl_->keeper.set_serves(impl_->serves());
  return {};
}

void dns_unit::start() {
  impl_->sockets.start();
  impl_->keeper.start();
}

void dns_unit::on_facts(const roles::facts_ptr& facts, bool public_tls) {
  impl_->keeper.on_facts(facts, public_tls);
}

json dns_unit::status(bool setup) const {
  if (!impl_->keeper.facts()) return json{{"state", "starting"}, {"records", json::array()}, {"setup", ""}};
  return setup ? json{{"setup", impl_->setup()}} : impl_->status();
}

} // namespace skald::node
