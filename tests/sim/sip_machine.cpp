#include "tests/sim/sip_machine.hpp"

#include "roles/core/binding.hpp"
#include "sip/message/stamp_via.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_plants.hpp"
#include "tests/sim/sip_world.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr std::uint16_t sip_port = 5060, sips_port = 5061, link_port = 4260;
constexpr duration question_takes = milliseconds(2);
constexpr std::size_t page_rows = 500; // node/cluster/cluster_query's

// As node/worker/worker reads: a request that is broken within is kept, as far as it can be read.
result<sip::message> parse(std::string bytes) {
  auto whole = sip::message::parse(bytes);
  return whole ? std::move(whole) : sip::message::parse_lenient(std::move(bytes));
}

} // namespace

sip_machine::sip_machine(surroundings around)
    : around_(std::move(around)), sip_at_{around_.home.on().spec.ip, sip_port}, link_at_{around_.home.on().spec.ip, link_port},
      links_({.net = around_.world.home.net,
              .self = around_.home.on().spec.number,
              .time = around_.home.on(),
              .where_is = around_.where_is,
              .id_of = [home = &around_.world.home](machine_id m) { return home->at(m).spec.id; },
              .address_of = [home = &around_.world.home](machine_id m) { return endpoint{home->at(m).spec.ip, link_port}; }},
             *this),
      dns_(around_.world.dns, around_.random, [this, alive = std::weak_ptr<int>(alive_)](std::move_only_function<void()> f) {
        if (!alive.expired()) around_.home.post(std::move(f));
      }) {
  const plant bug = around_.world.home.opts.bug;
  sip::message_sender& own = *this;
  wrapped_sender_ = plant_sender(bug, own);
  wrapped_dns_ = plant_exchange(bug, dns_);
  sip::message_sender& sender = wrapped_sender_ ? *wrapped_sender_ : own;
  dnsupdate::exchange_port& exchange = wrapped_dns_ ? *wrapped_dns_ : dns_;
  stack_ = std::make_unique<node::sip_stack>(node::sip_stack_ports{0, around_.home.on(), around_.timers, around_.random, around_.home, *this, sender,
                                                                   dns_, replays_, edge_});
  stack_->core().set_siblings({&stack_->core()});
  zone_ = std::make_unique<node::zone_keeper>(exchange, around_.timers, around_.home.on(), around_.random, dns_,
                                              [this]() -> dht::store_api& { return around_.home.store(); }, around_.names_seen);
  zone_->start();
  around_.world.wire.emptied(around_.home.on().spec.number);
}

sip_machine::~sip_machine() = default;

// node/runtime::on_facts
void sip_machine::on_facts(const roles::facts_ptr& facts) {
  if (facts->view != told_view_) {
    std::vector<node_id> died;
    for (const dht::member& m : facts->view->members) {
      const dht::member* before = told_view_ ? told_view_->find(m.id) : nullptr;
      if (!m.alive() && before != nullptr && before->alive()) died.push_back(m.id);
    }
    told_view_ = facts->view;
    around_.home.post([this, alive = std::weak_ptr<int>(alive_), died = std::move(died)] {
      if (alive.expired()) return;
      for (const node_id& id : died) links_.drop(id);
      stack_->core().on_view();
    });
  }
  zone_->on_facts(plant_zone_facts(around_.world.home.opts.bug, facts), false);
  if (!adopted_ && facts->serving) {
    adopted_ = true;
    adopt_bindings();
  }
}

// ---- after a restart: node/runtime::adopt_bindings, whose question goes by links to every member

void sip_machine::adopt_bindings() {
  cluster& home = around_.world.home;
  const machine_id self = around_.home.on().spec.number;
  for (const dht::member& m : around_.home.view()->members) {
    const auto there = home.machine_of(m.id);
    if (!m.alive() || !there) continue;
    home.time.after(question_takes, [this, alive = std::weak_ptr<int>(alive_), &home, self, there = *there] {
      if (alive.expired()) return;
      machine& asked = home.at(there);
      if (asked.running() && !asked.paused() && home.net.open(self, there) && home.net.open(there, self)) take_bindings(there);
    });
  }
}

void sip_machine::take_bindings(machine_id of) {
  process& holder = around_.world.home.at(of).proc();
  const std::string name = around_.home.on().spec.bundle;
  std::vector<roles::binding> mine;
  holder.turn([&] {
    std::string cursor;
    do {
      for (const dht::record& r : holder.whole_store().page(dht::table::bindings, cursor, page_rows))
        if (auto b = roles::decode_binding(r.value); b && b->edge == name) mine.push_back(std::move(*b));
    } while (!cursor.empty());
  });
  for (roles::binding& b : mine)
    around_.home.post([this, alive = std::weak_ptr<int>(alive_), b = std::move(b)] {
      if (!alive.expired()) static_cast<void>(stack_->core().adopt(b));
    });
}

// ---- in: node/worker/worker

void sip_machine::on_datagram(const endpoint& from, const endpoint& to, std::string bytes) {
  if (to != sip_at_ || !stack_->hears(from.ip, bytes)) return;
  auto m = parse(std::move(bytes));
  if (!m || (m->is_request() && !sip::stamp_top_via(*m, from))) return;
  const sip::flow f{.transport = sip::transport::udp, .local = sip_at_, .remote = from};
  stack_->receive(std::move(*m), {.flow = f, .at = around_.home.on().now()});
}

void sip_machine::on_link_message(std::string bytes, const sip::arrival& from) {
  if (auto m = parse(std::move(bytes))) stack_->receive(std::move(*m), from);
}

// ---- out

bool sip_machine::send(const sip::flow& where, std::string_view bytes) {
  if (where.transport == sip::transport::link) return links_.send(where, bytes);
  if (where.transport != sip::transport::udp || where.local != sip_at_) return false;
  around_.world.wire.from_machine(around_.home.on().spec.number, sip_at_, where.remote, std::string(bytes));
  return true;
}

void sip_machine::open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) {
  if (to.transport != sip::transport::udp) return done(std::nullopt); // the phones here speak UDP
  done(sip::flow{.transport = sip::transport::udp, .local = sip_at_, .remote = to.remote});
}

void sip_machine::open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) { links_.open(to, std::move(done)); }

std::optional<roles::flow_facts> sip_machine::facts(const sip::flow& f) const {
  if (f.transport == sip::transport::udp) return roles::flow_facts{};
  const sip::arrival* a = links_.find(f);
  if (a == nullptr) return std::nullopt;
  return roles::flow_facts{.peer = a->peer};
}

endpoint sip_machine::advertised(const sip::flow& f) const { return {sip_at_.ip, f.transport == sip::transport::link ? sips_port : sip_port}; }

void sip_machine::run_on(std::uint16_t, std::move_only_function<void()> what) { around_.home.post(std::move(what)); }

bool sip_machine::alive(const sip::flow& f) const { return f.transport == sip::transport::udp ? f.local == sip_at_ : links_.has(f); }

} // namespace skald::sim
