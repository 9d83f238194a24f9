#include "tests/sim/sip_world.hpp"

#include "dnsupdate/dead_names.hpp"
#include "dnsupdate/difference.hpp"
#include "dnsupdate/zone.hpp"
#include "node/cluster/shared_state.hpp"
#include "roles/core/binding.hpp"
#include "roles/core/subscriber.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_machine.hpp"

#include <algorithm>
#include <iterator>

namespace skald::sim {
namespace {

constexpr duration tick_every = milliseconds(10);
constexpr std::uint64_t look_every_ticks = 50, forget_every_ticks = 2000;
constexpr duration put_again = seconds(3), look_for_node_again = milliseconds(50);
constexpr duration answers_within = seconds(40);   // 64 * T1, and a little
constexpr duration out_of_srv_within = seconds(2); // design §7, once views agree
constexpr duration quiet_at_end = seconds(75);     // a transaction's end, a leg's memory (32 s each), two pings
constexpr std::size_t requests_of_refreshing = 4;    // a phone's: two with their answers, each kept for 32 s
constexpr std::uint64_t least_phones = 4, more_phones = 5;

} // namespace

sip_world::sip_world(cluster& c) : home(c), random_(c.opts.seed ^ 0x736970) {
  const auto n = least_phones + random_.below(more_phones);
  for (std::uint64_t i = 0; i < n; ++i) phones_.push_back(std::make_unique<sip_phone>(*this, static_cast<int>(i)));
  wire.set_quality({.loss = random_.chance(0.5) ? random_.unit() * 0.05 : 0, .duplication = random_.chance(0.3) ? random_.unit() * 0.1 : 0});
  if (random_.chance(0.3)) dns.loss = random_.unit() * 0.05;
  for (const auto& p : phones_) {
    const auto s = roles::make_subscriber(p->aor(), p->password(), 0);
    tasks_.push_back({dht::table::subscribers, dht::key_of_aor(p->aor()), roles::put_subscriber(s)});
  }
  tasks_.push_back({dht::table::settings, node::settings_key(), {"dns.server", dns_model::address().text(), 0, false}});
}

sip_world::~sip_world() = default;

void sip_world::start() {
  for (std::size_t i = 0; i < tasks_.size(); ++i) provide(i);
  tick();
}

// The operator: through any node that serves, until it is acknowledged; and again when it went with every disk that had it.
void sip_world::provide(std::size_t i) {
  const auto nodes = home.serving();
  home.time.after(nodes.empty() ? look_for_node_again : put_again, [this, i] { provide(i); });
  task& t = tasks_[i];
  t.doubted = t.done && (t.doubted || may_be_lost(t.held, t.alone));
  if (nodes.empty() || (t.done && !t.doubted)) return;
  process& at = nodes[random_.below(nodes.size())]->proc();
  if (t.done) look_for(i, at);
  else put(i, at);
}

void sip_world::put(std::size_t i, process& at) {
  const bool alone = std::ranges::count_if(at.view()->members, &dht::member::serving) <= 2;
  at.turn([&] {
    at.store().put(tasks_[i].table, tasks_[i].key, {tasks_[i].change}, [this, i, alone](const dht::write_result& r) {
      task& t = tasks_[i];
      if (!r.outcome || t.done) return;
      t.done = true, t.alone = alone, t.held = home.time.now();
    });
  });
}

void sip_world::look_for(std::size_t i, process& at) {
  at.turn([&] {
    at.store().fetch(tasks_[i].table, tasks_[i].key, [this, i, asked = home.time.now()](const dht::fetch_result& r) {
      task& t = tasks_[i];
      if (!t.done || !r.firm) return;
      t.doubted = false, t.held = asked;
      t.done = std::ranges::any_of(r.records, [&](const dht::record& found) { return found.item == t.change.item; });
      if (!t.done) home.time.note("the operator sets again what went with every disk: {}", t.change.item.empty() ? "a subscriber" : t.change.item);
    });
  });
}

bool sip_world::may_be_lost(mono_time since, bool alone) const {
  sip_judge::registration r;
  r.answered = since, r.alone = alone;
  return judge.may_be_lost(r);
}

void sip_world::tick() {
  home.time.after(tick_every, [this] { tick(); });
  judge.look_at_machines();
  if (!started_ && std::ranges::all_of(tasks_, &task::done)) {
    started_ = true;
    home.time.note("the phones are switched on");
    for (const auto& p : phones_) p->start();
  }
  timers.run_due(home.time.now());
  names_doubted_ = names_doubted_ || may_be_lost(world::began, home.size() <= 3); // two of three write alone
  if (++ticks_ % look_every_ticks == 0) judge.look_at_ringing(), watch_zone();
  if (ticks_ % forget_every_ticks == 0) judge.forget_old();
}

void sip_world::hold(bool quiet) {
  for (const auto& p : phones_) p->hold(quiet);
}

std::string sip_world::unrest() const {
  if (!started_ || !std::ranges::all_of(tasks_, &task::done)) return "subscribers or settings are not written";
  for (const auto& p : phones_)
    if (!p->idle()) return fmt::format("{} has work", p->user());
  return zone_differs();
}

// ---- registrations

void sip_world::look_at_rest() {
  look_at_registrations();
  if (!home.time.stopped()) look_at_lookups();
}

// Invariants 1 and 2, for the registrar: every node finds what a phone was told, and not what it took away.
void sip_world::look_at_registrations() {
  for (const auto& [number, r] : judge.registrations()) {
    if (!r.known || r.in_doubt || judge.may_be_lost(r)) continue;
    for (machine* m : home.serving()) {
      m->proc().turn([&, phone = number, asked = home.time.now()] {
        m->proc().store().fetch(dht::table::bindings, dht::key_of_aor(r.aor), [this, m, phone, asked](const dht::fetch_result& found) {
          const auto& now = judge.of(phone);
          if (now.in_doubt || now.answered > asked) return;
          const bool runs_out = now.there && now.until < home.time.now() + seconds(5);
          bool there = false;
          for (const dht::record& rec : found.records)
            if (const auto b = roles::decode_binding(rec.value); b && b->contact == now.contact)
              there = !now.there || (b->call_id == now.call_id && b->cseq >= now.cseq);
          if (there == now.there || runs_out) return;
          home.fail(now.there ? 1 : 2, fmt::format("the {} of phone{}, CSeq {}, acknowledged, is {} at {}", now.there ? "registration" : "removal", phone,
                                                   now.cseq, now.there ? "not found" : "undone", m->spec.name));
        });
      });
    }
  }
  home.time.run_for(seconds(3));
}

// Whoever is registered is reached through every edge.
void sip_world::look_at_lookups() {
  auto left = std::make_shared<std::size_t>(0);
  for (const auto& [number, r] : judge.registrations()) {
    const bool stays = r.known && r.there && !r.in_doubt && r.until > home.time.now() + answers_within && !judge.may_be_lost(r);
    if (!stays || r.edge < 0 || !home.at(r.edge).running()) continue;
    for (const machine* m : home.serving()) {
      ++*left;
      const machine_id edge = m->spec.number;
      phone((number + 1) % static_cast<int>(phones_.size())).probe(edge, r.aor, [this, left, number, edge](int status) {
        --*left;
        if (status != 200)
          home.fail(status == 0 ? 5 : status == 403 || status == 404 ? 4 : 1, fmt::format("a request to phone{}, registered through {}, sent to {}, is answered {}", number, home.at(judge.of(number).edge).spec.name,
                                   home.at(edge).spec.name, status));
      });
    }
  }
  for (duration waited{}; *left > 0 && waited < answers_within && !home.time.stopped(); waited += milliseconds(500)) home.time.run_for(milliseconds(500));
}

// ---- DNS

// Invariants 3 and 6: one publisher, and the zone names who serves.
std::string sip_world::zone_differs() const {
  const node::zone_keeper* keeper = nullptr;
  for (const machine* m : home.serving()) {
    const sip_machine* s = m->proc().sip();
    if (s == nullptr || !s->zone().publishing()) continue;
    if (keeper != nullptr) return "two nodes publish the zone";
    keeper = &s->zone();
  }
  if (keeper == nullptr) return "nobody publishes the zone";
  for (const auto& w : keeper->wanted())
    if (std::ranges::none_of(dns.zone(), [&](const auto& z) { return z.same_data(w); }))
      return fmt::format("the zone lacks {}", dnsupdate::line_text(w));
  return zone_has_more(*keeper);
}

// The hosts that somebody has kept as a dead node's.
std::vector<std::string> sip_world::kept_hosts() const {
  std::vector<std::string> out;
  for (const machine* m : home.running())
    for (const dht::record& r : m->proc().whole_store().read(dht::table::settings, dnsupdate::zone_key(home.domain())))
      if (const auto dot = r.item.find('.'); dot != std::string::npos) out.push_back(dnsupdate::host_of(r.item.substr(dot + 1), home.domain()));
  return out;
}

// Under the names of the dead too, unless what was known of them is lost: then nobody could find what stands there.
std::string sip_world::zone_has_more(const node::zone_keeper& keeper) const {
  auto hosts = dnsupdate::hosts_in(home.domain(), keeper.wanted());
  if (names_doubted_) std::ranges::move(kept_hosts(), std::back_inserter(hosts));
  for (const auto& z : dns.zone()) {
    const bool known = z.name == home.domain() || std::ranges::any_of(dnsupdate::domain_sets(home.domain()), [&](const auto& s) { return s.name == z.name; }) ||
                       std::ranges::any_of(hosts, [&](const std::string& h) { return dnsupdate::is_under(z.name, h); });
    if (dnsupdate::read_guard(z) || (!known && names_doubted_)) continue;
    if (std::ranges::none_of(keeper.wanted(), [&](const auto& w) { return z.same_data(w); }))
      return fmt::format("the zone still has {}", dnsupdate::line_text(z));
  }
  return {};
}

// One node is dead, all others have run undisturbed since: it leaves SRV in time.
void sip_world::watch_zone() {
  const bool wan = home.timing().heartbeat == dht::wan_profile().heartbeat;
  duration limit = out_of_srv_within + (wan ? seconds(3) : seconds(1));
  if (dns.loss > 0 || wire.how().loss > 0) limit += seconds(8); // answers that are lost are waited for
  const auto dead = judge.only_dead();
  if (!dead || home.time.now() - dead->second < limit || home.running().size() < 2 || !judge.strict(dead->second)) return;
  const std::string host = dnsupdate::host_of(home.at(dead->first).spec.bundle, home.domain());
  for (const std::string& name : dnsupdate::srv_names(home.domain()))
    for (const auto& r : dns.set_of(name, dnsupdate::rr_type::srv))
      if (const auto srv = dnsupdate::read_srv(r); srv && srv->target == host)
        return home.fail(3, fmt::format("{} is dead since {:.3f} s, and still in {}", home.at(dead->first).spec.name,
                                        static_cast<double>((dead->second - world::began).count()) / 1e6, name));
}

// ---- the end

// Invariant 8.
void sip_world::look_at_end() {
  hold(true);
  home.time.run_for(quiet_at_end);
  if (home.time.stopped()) return;
  for (machine* m : home.serving()) {
    node::sip_stack& s = m->proc().sip()->stack();
    if (s.core().legs_size() > 0 || s.core().size() > requests_of_refreshing * phones_.size())
      return home.fail(8, fmt::format("{} has {} requests and {} legs after {} s of silence", m->spec.name, s.core().size(), s.core().legs_size(),
                                      quiet_at_end.count() / 1'000'000));
  }
}

// A subscriber, a binding, its nonces (a register and a call each few seconds, for five minutes and the stubs' time) and dialogs.
std::size_t sip_world::records_at_most() const { return phones_.size() * 2000; }

std::string sip_world::summary() const {
  sip_counts all;
  for (const auto& p : phones_) {
    const sip_counts& c = p->counts();
    all.registers += c.registers, all.registered += c.registered, all.calls += c.calls, all.answered += c.answered;
    all.byes += c.byes, all.failovers += c.failovers, all.unanswered += c.unanswered;
    for (const auto& [status, n] : c.finals) all.finals[status] += n;
  }
  std::string finals;
  for (const auto& [status, n] : all.finals) finals += fmt::format(" {}x{}", n, status);
  return fmt::format("{} phones: {} of {} REGISTER, {} of {} calls answered, {} hung up, {} fail-overs, {} unanswered;{}; {} DNS updates, {} tolerated",
                     phones_.size(), all.registered, all.registers, all.answered, all.calls, all.byes, all.failovers, all.unanswered, finals, dns.updates(),
                     judge.tolerated());
}

} // namespace skald::sim
