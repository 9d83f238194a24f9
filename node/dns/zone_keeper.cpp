#include "node/dns/zone_keeper.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::node {
namespace {

namespace du = dnsupdate;

constexpr duration look_every = seconds(5);
constexpr int unknown_looks_max = 3; // looks without any answer until our names count as unseen

du::publisher_wish::side side_of(du::split_side s) {
  switch (s) {
  case du::split_side::more: return du::publisher_wish::side::more;
  case du::split_side::half: return du::publisher_wish::side::half;
  case du::split_side::less: return du::publisher_wish::side::less;
  }
  return du::publisher_wish::side::less;
}

} // namespace

zone_keeper::zone_keeper(du::exchange_port& exchange, scheduler& timers, const clock& clk, rng& random, sip::dns_port& client,
                         std::function<dht::store_api&()> store, std::function<void(bool)> names_seen)
    : timers_(timers), clock_(clk), client_(client), store_(std::move(store)), names_seen_(std::move(names_seen)), server_(random),
      publisher_(exchange, timers, clk, random) {}

zone_keeper::~zone_keeper() {
  *alive_ = false;
  timers_.cancel(tick_timer_);
}

void zone_keeper::start() {
  tick_timer_ = timers_.at(clock_.now() + seconds(1), [this] { tick(); });
}

void zone_keeper::set_serves(bool serves) {
  serves_ = serves;
  rebuild();
}

void zone_keeper::on_facts(const roles::facts_ptr& facts, bool public_tls) {
  facts_ = facts;
  public_tls_ = public_tls;
  rebuild();
}

// ---- the zone and who publishes it

// A node that does not trust its own view says nothing; one that leaves says so until it is gone.
bool zone_keeper::trustworthy() const { return facts_->serving || facts_->view->me().state != dht::member_state::active; }

const node_id* zone_keeper::zone_owner() const {
  return facts_->registrars ? facts_->registrars->owner(du::zone_key(domain_)) : nullptr;
}

std::string zone_keeper::publisher_name() const {
  const node_id* owner = zone_owner();
  const dht::member* m = owner != nullptr ? facts_->view->find(*owner) : nullptr;
  return m != nullptr ? m->body.name : std::string{};
}

bool zone_keeper::mine() const {
  const node_id* owner = zone_owner();
  return owner != nullptr && *owner == facts_->view->self && trustworthy() && facts_->view->me().serving();
}

// A side that publishes nothing says nothing of the dead either: what it takes for dead may serve on the other side.
du::dead_names::duty zone_keeper::dead_duty() const {
  return {mine() && split_.side() != du::split_side::less, !server_at_ || publisher_.status().state == du::publish_state::published};
}

void zone_keeper::rebuild() {
  if (!facts_) return;
  domain_ = to_lower(facts_->config->default_domain);
  split_.observe(*facts_->view, *facts_->base);
  if (!dead_) dead_.emplace(store_, domain_, [this] { rebuild(); });
  dead_->observe(*facts_->view, dead_duty(), clock_.now());
  const du::zone_input in{*facts_->view, domain_, public_tls_, dead_->names()};
  wanted_ = du::wanted_records(in);
  auto own = du::own_zone_records(in, 0);
  const bool edges = !du::active_edges(*facts_->view).empty();
  const bool serves = edges && trustworthy() && serves_;
  if (own != own_zone_ || serves != serving_) {
    serial_ = du::next_serial(serial_, own != own_zone_, facts_->view->stamp.newest);
    own_zone_ = std::move(own);
    serving_ = serves;
    server_.set_zone(domain_, du::own_zone_records(in, serial_), serving_);
  }
  direct_publisher();
}

void zone_keeper::direct_publisher() {
  const roles::settings& s = *facts_->config;
  const auto at = endpoint::parse(s.dns_server, 53);
  server_at_ = s.dns_server.empty() || !at ? std::nullopt : std::optional(*at);
  std::optional<du::publisher_config> c;
  if (server_at_ && mine() && dead_->known())
    c = du::publisher_config{*server_at_, {s.dns_tsig_name, s.dns_tsig_algorithm, s.dns_tsig_secret}, domain_, facts_->view->me().body.name};
  std::vector<std::string> to_clear;
  for (const std::string& name : dead_->over()) to_clear.push_back(du::host_of(name, domain_));
  publisher_.want({wanted_, facts_->view->stamp.text(), side_of(split_.side()), split_.stamps(), std::move(to_clear)});
  if (c.has_value() != publishing_)
    log::info("dns", c ? fmt::format("this node publishes {} at {}", domain_, server_at_->text()) : "this node does not publish any more");
  publishing_ = c.has_value();
  publisher_.set(std::move(c));
}

// ---- whether our names can be seen

void zone_keeper::tick() {
  tick_timer_ = timers_.at(clock_.now() + look_every, [this] { tick(); });
  rebuild(); // names of the dead run out
  look();
}

void zone_keeper::look() {
  if (!facts_ || facts_->view->me().body.addresses.empty()) return;
  const auto round = std::make_shared<one_look>();
  std::vector<sip::dns_type> types;
  for (const ip_family family : {ip_family::v4, ip_family::v6})
    if (std::ranges::any_of(facts_->view->me().body.addresses, [family](const ip_address& a) { return a.family == family; }))
      types.push_back(family == ip_family::v4 ? sip::dns_type::a : sip::dns_type::aaaa);
  round->missing = static_cast<int>(types.size());
  const std::string own_host = du::host_of(facts_->view->me().body.name, domain_);
  for (const sip::dns_type t : types)
    client_.query(own_host, t, [this, alive = alive_, round](sip::dns_answer a) {
      if (*alive) looked(*round, a);
    });
}

// One family is enough: a phone has one of them at least. No answer at all says nothing, for a while.
void zone_keeper::looked(one_look& round, const sip::dns_answer& a) {
  const auto& own = facts_->view->me().body.addresses;
  round.answered = round.answered || a.status != sip::dns_status::failure;
  round.found = round.found || std::ranges::any_of(a.addresses, [&](const ip_address& ip) { return std::ranges::find(own, ip) != own.end(); });
  if (--round.missing > 0) return;
  unknown_looks_ = round.answered ? 0 : unknown_looks_ + 1;
  if (round.answered || unknown_looks_ == unknown_looks_max) names_seen_(round.found);
}

} // namespace skald::node
