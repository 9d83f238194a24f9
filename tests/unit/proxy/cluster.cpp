#include "cluster.hpp"

#include "dht/ring/ring.hpp"
#include "roles/core/subscriber.hpp"
#include "sip/message/validate.hpp"

#include <fmt/format.h>

namespace skald::roles::testing {

std::vector<dht::record> shared_store::read(dht::table t, const ring_key& k) const {
  std::vector<dht::record> out;
  if (const auto it = tables.find({t, k}); it != tables.end())
    for (const auto& [item, r] : it->second)
      if (r.live(clock_.wall())) out.push_back(r);
  return out;
}

void shared_store::keep(dht::table t, const ring_key& k, const std::vector<dht::change>& changes) {
  for (const dht::change& c : changes) {
    if (c.item == dht::floor_item) { // remove all
      tables[{t, k}].clear();
      continue;
    }
    dht::record r;
    r.table = t, r.key = k, r.item = c.item, r.value = c.value, r.expires = c.expires, r.removed = c.remove;
    tables[{t, k}][c.item] = r;
  }
}

void shared_store::write(dht::table t, const ring_key& k, dht::rule r,
                         std::move_only_function<void(dht::write_result)> done) {
  if (const auto why = refuses ? refuses(t) : std::nullopt) return done({std::unexpected(*why), {}});
  auto changes = r(read(t, k));
  if (!changes) return done({std::unexpected(dht::write_error::refused), changes.error()});
  keep(t, k, *changes);
  done({read(t, k), 0});
}

void shared_store::fetch(dht::table t, const ring_key& k, std::move_only_function<void(dht::fetch_result)> done) {
  if (!slow) return done({read(t, k), firm});
  asked.push_back([this, t, k, done = std::move(done)]() mutable { done({read(t, k), firm}); });
}

void shared_store::answer_all() {
  slow = false;
  for (auto& one : std::exchange(asked, {}))
    one();
}

void shared_store::put(dht::table t, const ring_key& k, std::vector<dht::change> changes,
                       std::move_only_function<void(dht::write_result)> done) {
  keep(t, k, changes);
  done({read(t, k), 0});
}

std::size_t shared_store::count(dht::table t) const {
  std::size_t n = 0;
  for (const auto& [where, items] : tables)
    if (where.first == t)
      for (const auto& [item, r] : items)
        n += r.live(clock_.wall()) ? 1 : 0;
  return n;
}

std::vector<dht::record> shared_store::page(dht::table t, std::string& cursor, std::size_t) const {
  cursor.clear(); // one page is all
  std::vector<dht::record> out;
  for (const auto& [where, items] : tables)
    if (where.first == t)
      for (const auto& [item, r] : items)
        if (r.live(clock_.wall())) out.push_back(r);
  return out;
}

std::vector<dht::record> node_store::page(dht::table t, std::string& cursor, std::size_t limit) const {
  auto out = all_.page(t, cursor, limit);
  const auto facts = node_.facts();
  std::erase_if(out, [&](const dht::record& r) { return *facts->registrars->owner(r.key) != facts->view->self; });
  return out;
}

// ---- nodes

struct test_node::no_dns final : sip::dns_port {
  void query(std::string, sip::dns_type, callback done) override { done({}); }
};

struct test_node::table_resolver final : server_resolver {
  explicit table_resolver(cluster& c) : home(c) {}
  void resolve(std::string uri, std::move_only_function<void(std::vector<sip::target>)> done) override {
    const auto it = home.dns.find(uri);
    if (it != home.dns.end()) return done(it->second);
    const auto u = sip::parse_uri(uri);
    if (!u) return done({});
    if (const auto host = home.dns.find(std::string(u->host)); host != home.dns.end()) return done(host->second);
    const auto ip = ip_address::parse(u->host);
    if (!ip) return done({});
    done({{sip::transport::udp, {*ip, u->port == 0 ? std::uint16_t{5060} : u->port}, {}}});
  }
  cluster& home;
};

test_node::test_node(cluster& c, std::string n, const node_id& i, ip_address address, std::uint64_t seed)
    : home(c), name(std::move(n)), id(i), ip(address), kept(c.store, *this), random(seed), dns(std::make_unique<no_dns>()),
      resolver(std::make_unique<table_resolver>(c)),
      env{0, c.clock, timers, random, *this, *this, *this, nullptr, *dns}, auth(env, c.replays), registrar(env, auth),
      core(env, registrar, auth, *resolver, edge), layer(c.clock, timers, *this, core) {
  env.transactions = &layer;
}

test_node::~test_node() = default;

void test_node::open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) {
  opened.push_back(to);
  if (opens_nothing) return;
  if (dead_flows.contains(to.remote) || (refuses_streams && to.transport != sip::transport::udp))
    return done(std::nullopt);
  done(sip::flow{.transport = to.transport, .local = sip_address(), .remote = to.remote});
}

void test_node::open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) {
  for (const dht::member& m : facts_->view->members) {
    if (m.id != to) continue;
    const endpoint there{m.body.addresses.front(), 4260};
    if (dead_flows.contains(there)) return done(std::nullopt);
    return done(link_to(there));
  }
  done(std::nullopt);
}

// One link for each pair of nodes.
sip::flow test_node::link_to(const endpoint& there) const {
  const std::uint32_t a = ip.bytes[3], b = there.ip.bytes[3];
  return {.transport = sip::transport::link, .serial = std::min(a, b) * 256 + std::max(a, b), .local = link_address(), .remote = there};
}

void test_node::run_on(std::uint16_t, std::move_only_function<void()> what) {
  home.post(std::move(what));
}

bool test_node::send(const sip::flow& where, std::string_view bytes) {
  if (dead_flows.contains(where.remote)) return false;
  home.deliver(*this, where, std::string(bytes));
  return true;
}

void test_node::receive(std::string bytes, const sip::arrival& from) {
  auto m = sip::message::parse(std::move(bytes));
  REQUIRE(m.has_value());
  const auto bad = sip::validate(*m);
  if (bad) MESSAGE(bad->reason);
  REQUIRE_FALSE(bad.has_value());
  layer.receive(std::move(*m), from);
}

// ---- the cluster

namespace {

dht::member member_of(const test_node& n) {
  dht::member m;
  m.id = n.id;
  m.life = 1;
  m.state = dht::member_state::active;
  m.body.version = 1;
  m.body.name = n.name;
  m.body.addresses = {n.ip};
  m.body.roles.bits = 0xffff;
  return m;
}

} // namespace

cluster::cluster(std::size_t count, std::function<void(settings&)> configure) {
  for (std::size_t i = 0; i < count; ++i) {
    node_id id;
    id.bytes.fill(static_cast<std::uint8_t>(0x11 * (i + 1)));
    nodes_.push_back(std::make_unique<test_node>(*this, fmt::format("n{}", i + 1), id,
                                                 *ip_address::parse(fmt::format("10.0.0.{}", i + 1)), i + 1));
  }
  auto config = std::make_shared<settings>(read_settings("example.com", {}));
  if (configure) configure(*config);
  const auto keys = std::make_shared<key_ring>(std::vector{cluster_key{7, 0, std::string(32, 'k')}});
  std::vector<dht::member> members;
  for (const auto& n : nodes_)
    members.push_back(member_of(*n));
  for (const auto& n : nodes_) {
    auto view = std::make_shared<dht::view>();
    view->self = n->id;
    view->members = members;
    auto facts = std::make_shared<cluster_facts>();
    facts->registrars = dht::ring::build(dht::serving_members(*view, dht::role::registrar));
    facts->view = view;
    facts->keys = keys;
    facts->config = config;
    facts->serving = true;
    n->facts_ = facts;
  }
}

cluster::~cluster() {
  queue_.clear();
}

test_node& cluster::owner_of(std::string_view aor) {
  const node_id* owner = nodes_[0]->facts_->registrars->owner(dht::key_of_aor(aor));
  for (const auto& n : nodes_)
    if (n->id == *owner) return *n;
  FAIL("no owner");
  return *nodes_[0];
}

std::string cluster::user_owned_by(test_node& n, std::string_view prefix) {
  for (int i = 0; i < 1000; ++i) {
    std::string user = fmt::format("{}{}", prefix, i);
    if (&owner_of("sip:" + user + "@example.com") == &n) return user;
  }
  FAIL("no such user");
  return {};
}

phone& cluster::add_phone(const std::string& user, std::string_view address) {
  phones_.push_back(std::make_unique<phone>(*this, user, address));
  const std::string aor = "sip:" + user + "@example.com";
  store.keep(dht::table::subscribers, dht::key_of_aor(aor), {put_subscriber(make_subscriber(aor, "secret", 1000))});
  return *phones_.back();
}

phone& cluster::add_stranger(const std::string& user, std::string_view address, std::string domain) {
  phones_.push_back(std::make_unique<phone>(*this, user, address, std::move(domain)));
  return *phones_.back();
}

void cluster::set_facts(std::function<void(cluster_facts&)> change) {
  for (const auto& n : nodes_) {
    auto facts = std::make_shared<cluster_facts>(*n->facts_);
    change(*facts);
    n->facts_ = facts;
    if (!n->killed) n->core.on_view();
  }
}

void cluster::kill(test_node& n) {
  n.killed = true;
  n.held.clear();
  for (const auto& other : nodes_) {
    if (other.get() == &n) continue;
    other->dead_flows.insert(n.link_address());
    const sip::flow link = other->link_to(n.link_address());
    other->layer.flow_gone(link);
    other->core.on_flow_gone(link);
  }
  settle();
}

void cluster::cut_link(test_node& a, test_node& b) {
  for (const auto& [one, other] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
    const sip::flow link = one->link_to(other->link_address());
    one->dead_flows.insert(other->link_address());
    one->layer.flow_gone(link);
    one->core.on_flow_gone(link);
  }
  settle();
}

void cluster::leave(test_node& n) {
  auto facts = std::make_shared<cluster_facts>(*n.facts_);
  auto view = std::make_shared<dht::view>(*facts->view);
  for (dht::member& m : view->members)
    if (m.id == n.id) m.state = dht::member_state::left;
  facts->registrars = dht::ring::build(dht::serving_members(*view, dht::role::registrar));
  facts->view = view;
  facts->serving = false;
  n.facts_ = facts;
  n.core.on_view();
  settle();
}

void cluster::bury(test_node& n) {
  set_facts([&](cluster_facts& f) {
    auto view = std::make_shared<dht::view>(*f.view);
    for (dht::member& m : view->members)
      if (m.id == n.id) m.state = dht::member_state::dead;
    view->stamp.hash = n.id.head();
    f.registrars = dht::ring::build(dht::serving_members(*view, dht::role::registrar));
    f.view = view;
  });
  settle();
}

void cluster::thaw(test_node& n) {
  n.frozen = false;
  for (auto& one : std::exchange(n.held, {}))
    post(std::move(one));
  settle();
}

void cluster::deliver(test_node& from, const sip::flow& where, std::string bytes) {
  trace +=
      fmt::format("---- {} -> {} {}\n{}\n", from.name, sip::param_name(where.transport), where.remote.text(), bytes);
  if (lost.contains(where.remote) || from.killed) return;
  post([this, &from, where, bytes = std::move(bytes)]() mutable {
    for (const auto& n : nodes_) {
      const bool link = where.transport == sip::transport::link;
      if (where.remote != (link ? n->link_address() : n->sip_address())) continue;
      if (link) ++link_messages;
      const sip::flow back{
          .transport = where.transport, .serial = where.serial, .local = where.remote, .remote = where.local};
      return hand(*n, std::move(bytes), {.flow = back, .at = clock.now(), .peer = link ? from.id : node_id{}});
    }
    for (const auto& p : phones_)
      if (p->address == where.remote) return p->receive(bytes, {.flow = where, .at = clock.now()});
  });
}

void cluster::deliver(phone& from, test_node& to, std::string bytes) {
  trace += fmt::format("---- {} -> {}\n{}\n", from.address.text(), to.name, bytes);
  const sip::flow f{.transport = sip::transport::udp, .local = to.sip_address(), .remote = from.address};
  post([this, &to, f, certified = from.certified, bytes = std::move(bytes)]() mutable {
    hand(to, std::move(bytes), {.flow = f, .at = clock.now(), .certified = certified});
  });
}

void cluster::hand(test_node& to, std::string bytes, const sip::arrival& from) {
  if (to.killed) return;
  if (!to.frozen) return to.receive(std::move(bytes), from);
  to.held.push_back([&to, bytes = std::move(bytes), from]() mutable { to.receive(std::move(bytes), from); });
}

void cluster::settle() {
  for (std::size_t guard = 0; guard < 100'000; ++guard) {
    if (!queue_.empty()) {
      auto next = std::move(queue_.front());
      queue_.pop_front();
      next();
      continue;
    }
    std::size_t ran = 0;
    for (const auto& n : nodes_)
      if (!n->killed && !n->frozen) ran += n->timers.run_due(clock.now());
    if (ran == 0 && queue_.empty()) return;
  }
  FAIL("the cluster does not come to rest");
}

void cluster::advance(duration d) {
  const mono_time end = clock.now() + d;
  settle();
  while (true) {
    std::optional<mono_time> next;
    for (const auto& n : nodes_)
      if (const auto t = n->timers.next_deadline(); t && !n->killed && !n->frozen && (!next || *t < *next)) next = t;
    if (!next || *next > end) break;
    clock.advance(*next - clock.now());
    settle();
  }
  clock.advance(end - clock.now());
}

std::string header_of(const sip::message& m, sip::header h) {
  return std::string(m.line(h).value_or(std::string_view{}));
}

} // namespace skald::roles::testing
