#include "node/dns_unit.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "dnsupdate/publisher.hpp"
#include "dnsupdate/setup_text.hpp"
#include "dnsupdate/split_rule.hpp"
#include "dnsupdate/zone.hpp"
#include "node/dns_exchange.hpp"
#include "node/dns_sockets.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {
namespace {

using nlohmann::json;
namespace du = dnsupdate;

constexpr duration look_every = seconds(5);
constexpr int unknown_looks_max = 3;               // looks without any answer until our names count as unseen
constexpr duration server_read_again = seconds(5); // by a node that does not publish, when an operator asks

du::publisher_wish::side side_of(du::split_side s) {
  switch (s) {
  case du::split_side::more: return du::publisher_wish::side::more;
  case du::split_side::half: return du::publisher_wish::side::half;
  case du::split_side::less: return du::publisher_wish::side::less;
  }
  return du::publisher_wish::side::less;
}

} // namespace

struct dns_unit::impl {
  impl(dns_unit_config c, loop& on, const clock& clk, rng& r, sip::dns_port& cl, std::function<void(bool)> seen)
      : config(std::move(c)), events(on), time(clk), random(r), client(cl), names_seen(std::move(seen)), server(r), sockets(on, server), exchange(on),
        publisher(exchange, on.timers(), clk, r) {}
  ~impl() {
    *alive = false;
    events.timers().cancel(tick_timer);
  }

  // ---- the zone and who publishes it

  std::string own_host() const { return du::host_of(facts->view->me().body.name, domain); }

  // A node that does not trust its own view says nothing; one that leaves says so until it is gone.
  bool trustworthy() const { return facts->serving || facts->view->me().state != dht::member_state::active; }

  std::string publisher_name() const {
    const node_id* owner = facts->registrars ? facts->registrars->owner(dht::key_of_name("zone:" + domain)) : nullptr;
    const dht::member* m = owner != nullptr ? facts->view->find(*owner) : nullptr;
    return m != nullptr ? m->body.name : std::string{};
  }

  bool owns_zone() const {
    const node_id* owner = facts->registrars ? facts->registrars->owner(dht::key_of_name("zone:" + domain)) : nullptr;
    return owner != nullptr && *owner == facts->view->self;
  }

  void rebuild() {
    if (!facts) return;
    domain = to_lower(facts->config->default_domain);
    const mono_time now = time.now();
    dead.observe(*facts->view, now);
    split.observe(*facts->view, *facts->base);
    const du::zone_input in{*facts->view, domain, public_tls, dead.all()};
    wanted = du::wanted_records(in);
    auto own = du::own_zone_records(in, 0);
    const bool edges = !du::active_edges(*facts->view).empty();
    const bool serves = edges && trustworthy() && config.serve;
    if (own != own_zone || serves != serving) {
      serial = du::next_serial(serial, own != own_zone, facts->view->stamp.newest);
      own_zone = std::move(own);
      serving = serves;
      server.set_zone(domain, du::own_zone_records(in, serial), serving);
    }
    direct_publisher();
  }

  void direct_publisher() {
    const roles::settings& s = *facts->config;
    const auto at = endpoint::parse(s.dns_server, 53);
    server_at = s.dns_server.empty() || !at ? std::nullopt : std::optional(*at);
    std::optional<du::publisher_config> c;
    if (server_at && owns_zone() && trustworthy() && facts->view->me().serving())
      c = du::publisher_config{*server_at, {s.dns_tsig_name, s.dns_tsig_algorithm, s.dns_tsig_secret}, domain, facts->view->me().body.name};
    du::publisher_wish wish{wanted, facts->view->stamp.text(), side_of(split.side()), split.stamps()};
    publisher.want(std::move(wish));
    if (c.has_value() != publishing) log::info("dns", c ? fmt::format("this node publishes {} at {}", domain, server_at->text()) : "this node does not publish any more");
    publishing = c.has_value();
    publisher.set(std::move(c));
  }

  // ---- whether our names can be seen

  void tick() {
    tick_timer = events.timers().at(events.now() + look_every, [this] { tick(); });
    rebuild(); // names of the dead run out
    look();
  }

  struct one_look {
    int missing = 0;
    bool answered = false, found = false;
  };

  void look() {
    if (!facts || facts->view->me().body.addresses.empty()) return;
    const auto round = std::make_shared<one_look>();
    std::vector<sip::dns_type> types;
    for (const ip_family family : {ip_family::v4, ip_family::v6})
      if (std::ranges::any_of(facts->view->me().body.addresses, [family](const ip_address& a) { return a.family == family; }))
        types.push_back(family == ip_family::v4 ? sip::dns_type::a : sip::dns_type::aaaa);
    round->missing = static_cast<int>(types.size());
    for (const sip::dns_type t : types)
      client.query(own_host(), t, [this, alive = alive, round](sip::dns_answer a) {
        if (*alive) looked(*round, a);
      });
  }

  // One family is enough: a phone has one of them at least. No answer at all says nothing, for a while.
  void looked(one_look& round, const sip::dns_answer& a) {
    const auto& own = facts->view->me().body.addresses;
    round.answered = round.answered || a.status != sip::dns_status::failure;
    round.found = round.found || std::ranges::any_of(a.addresses, [&](const ip_address& ip) { return std::ranges::find(own, ip) != own.end(); });
    if (--round.missing > 0) return;
    unknown_looks = round.answered ? 0 : unknown_looks + 1;
    if (round.answered || unknown_looks == unknown_looks_max) names_seen(round.found);
  }

  // ---- what operators see

  // A node that does not publish looks at the server itself, so that each can tell what is published.
  void read_server() {
    if (publishing || !server_at || reader || events.now() - read_at < server_read_again) return;
    read_at = events.now();
    reader = std::make_unique<du::zone_reader>(exchange, random, *server_at, domain, du::hosts_in(domain, wanted), [this](auto got) {
      read = std::move(got);
      read_done = true;
      events.timers().at(events.now(), [this, alive = alive] { // not inside its own call
        if (*alive) reader.reset();
      });
    });
    reader->start();
  }

  std::string state() const {
    if (!server_at) return config.serve && bound ? (serving ? "embedded" : "embedded, no active edge") : "off";
    return publishing ? std::string(du::to_string(publisher.status().state)) : "standby";
  }

  json records() const {
    const std::vector<du::record>* seen = nullptr;
    if (publishing) seen = &publisher.status().seen;
    else if (server_at && read_done && read) seen = &read->records;
    json out = json::array();
    for (const du::record& r : server_at ? wanted : own_zone) {
      json row{{"name", r.name}, {"ttl_s", r.ttl}, {"type", du::to_string(r.type)}, {"data", r.type == du::rr_type::soa ? soa_text(r) : du::data_text(r)}};
      if (!server_at) row["published"] = config.serve && bound && serving;
      else if (seen == nullptr) row["published"] = nullptr;
      else row["published"] = std::ranges::any_of(*seen, [&](const du::record& s) { return s.same_data(r); });
      out.push_back(std::move(row));
    }
    return out;
  }

  std::string soa_text(const du::record& r) const {
    auto soa = du::read_soa(r);
    if (!soa) return du::data_text(r);
    soa->serial = serial;
    return du::data_text(du::soa_record(r.name, r.ttl, *soa));
  }

  json status() {
    read_server();
    const du::publisher_status& p = publisher.status();
    std::string problem = p.last_error;
    if (!publishing && server_at && read_done && !read) problem = read.error().text;
    if (!facts->config->dns_server.empty() && !server_at) problem = "the setting dns.server is no IP:PORT";
    std::vector<du::record> foreign = p.foreign;
    if (!publishing && server_at && read_done && read) foreign = du::compare(domain, wanted, read->records).foreign;
    json lines = json::array();
    for (const du::record& r : foreign) lines.push_back(du::line_text(r));
    for (const std::string& h : p.withheld) lines.push_back(h + ": this name is somebody else's; the node is not published");
    return {{"state", state()}, {"publisher", server_at ? publisher_name() : ""}, {"server", server_at ? server_at->text() : ""},
            {"zone", p.zone.empty() ? (read_done && read ? read->zone : domain) : p.zone}, {"embedded", config.serve && bound},
            {"foreign", lines}, {"last_error", problem}, {"warning", p.warning}, {"records", records()}};
  }

  std::string setup() const {
    const roles::settings& s = *facts->config;
    std::vector<std::string> others;
    for (const std::string& d : s.domains)
      if (!equal_nocase(d, domain)) others.push_back(d);
    return du::setup_text({*facts->view, domain, std::move(others), s.dns_server, s.dns_tsig_name, s.dns_tsig_algorithm, public_tls});
  }

  dns_unit_config config;
  loop& events;
  const clock& time;
  rng& random;
  sip::dns_port& client;
  std::function<void(bool)> names_seen;
  du::name_server server;
  dns_sockets sockets;
  dns_exchange exchange;
  du::publisher publisher;
  std::unique_ptr<du::zone_reader> reader;
  std::expected<du::zone_seen, du::publish_problem> read;
  mono_time read_at{};
  bool read_done = false;

  roles::facts_ptr facts;
  bool public_tls = false, bound = false, serving = false, publishing = false;
  std::string domain;
  std::optional<endpoint> server_at;
  du::dead_names dead;
  du::split_rule split;
  std::vector<du::record> wanted, own_zone;
  std::uint32_t serial = 0;
  int unknown_looks = 0;
  timer_id tick_timer = timer_id::none;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

dns_unit::dns_unit(dns_unit_config config, loop& events, const clock& clk, rng& random, sip::dns_port& client, std::function<void(bool)> names_seen)
    : impl_(std::make_unique<impl>(std::move(config), events, clk, random, client, std::move(names_seen))) {}
dns_unit::~dns_unit() = default;

outcome<void> dns_unit::bind() {
  if (!impl_->config.serve) return {};
  auto bound = impl_->sockets.bind(impl_->config.addresses, impl_->config.port);
  impl_->bound = bound.has_value();
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
  impl_->rebuild();
  return {};
}

void dns_unit::start() {
  impl_->sockets.start();
  impl_->tick_timer = impl_->events.timers().at(impl_->events.now() + seconds(1), [self = impl_.get()] { self->tick(); });
}

void dns_unit::on_facts(const roles::facts_ptr& facts, bool public_tls) {
  impl_->facts = facts;
  impl_->public_tls = public_tls;
  impl_->rebuild();
}

json dns_unit::status(bool setup) const {
  if (!impl_->facts) return json{{"state", "starting"}, {"records", json::array()}, {"setup", ""}};
  return setup ? json{{"setup", impl_->setup()}} : impl_->status();
}

} // namespace skald::node
