#include "tests/sim/rest.hpp"

#include "dht/store/journal.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_world.hpp"
#include "tests/sim/store_phones.hpp"

#include <algorithm>
#include <memory>

namespace skald::sim {
namespace {

constexpr duration look_again = milliseconds(370), operator_looks_after = seconds(60);
constexpr duration copies_equal_within = seconds(10); // promise 4
constexpr std::size_t timers_max = 200, sip_timers_max = 2000; // transactions end 32 s after their last answer, legs later

std::string problem_of(machine& m, std::size_t running, const dht::view_stamp& stamp) {
  process& p = m.proc();
  if (p.state() != dht::member_state::active) return fmt::format("{} is {}", m.spec.name, dht::to_string(p.state()));
  if (!p.serving()) return fmt::format("{} does not serve", m.spec.name);
  const auto alive = static_cast<std::size_t>(std::ranges::count_if(p.view()->members, &dht::member::alive));
  if (alive != running) return fmt::format("{} sees {} members of {}", m.spec.name, alive, running);
  if (p.view()->stamp != stamp) return fmt::format("{} has another view", m.spec.name);
  for (const dht::member& known : p.view()->members)
    if (known.alive() && known.body.version == 0) return fmt::format("{} lacks the record of {}", m.spec.name, known.id.hex().substr(0, 8));
  if (p.base().size() != running) return fmt::format("{} has a base of {}, of {} members", m.spec.name, p.base().size(), running);
  const auto s = p.whole_store().stats();
  if (!p.whole_store().settled()) return fmt::format("{} is not settled: {} partitions", m.spec.name, s.unsettled);
  if (s.writing + s.copying + s.fetching + s.putting != 0)
    return fmt::format("{} has work: {} writing, {} copying, {} fetching, {} putting", m.spec.name, s.writing, s.copying, s.fetching, s.putting);
  if (s.incomplete != 0) {
    std::string of;
    for (const auto& each : s.missing) of += fmt::format(" {}", each.id.hex().substr(0, 8));
    return fmt::format("{} is not complete: {} partitions, for want of{}", m.spec.name, s.incomplete, of);
  }
  if (s.behind != 0) return fmt::format("{} knows copies behind in {} partitions", m.spec.name, s.behind);
  if (!s.disk_ok) return fmt::format("the disk of {} is not well", m.spec.name);
  return {};
}

// Of every duty there is one keeper; the cluster's keys stand for all.
std::string duties(const std::vector<machine*>& machines) {
  const auto keepers = std::ranges::count_if(machines, [](const machine* m) { return m->proc().keeper(); });
  if (keepers == 1) return {};
  return fmt::format("{} nodes make the cluster's keys", keepers);
}

bool same_records(const std::vector<dht::record>& a, const std::vector<dht::record>& b) { return a == b; }

} // namespace

std::string rest::unrest() const {
  if (!phones_.idle()) return "phones wait for answers";
  const auto machines = home_.running();
  if (machines.empty()) return "nobody runs";
  const auto stamp = machines.front()->proc().view() ? machines.front()->proc().view()->stamp : dht::view_stamp{};
  for (machine* m : machines) {
    if (m->paused()) return fmt::format("{} stands still", m->spec.name);
    if (auto why = problem_of(*m, machines.size(), stamp); !why.empty()) return why;
  }
  if (auto why = duties(machines); !why.empty() || !home_.sip) return why;
  return home_.sip->unrest();
}

// `skald partitions --accept-loss`: a node is missed that left for good, and whoever heard it leave was broken since.
void rest::accept_losses() {
  const auto gone = [this](const dht::missing_source& s) {
    const auto there = home_.machine_of(s.id);
    return !s.alive && there && home_.at(*there).left;
  };
  for (machine* m : home_.running()) {
    dht::store& store = m->proc().whole_store();
    const auto missing = store.stats().missing;
    if (m->paused() || missing.empty() || !std::ranges::all_of(missing, gone)) continue;
    ++home_.happened["losses accepted"];
    home_.time.note("{} is told to accept the loss of {} nodes that left", m->spec.name, missing.size());
    m->proc().turn([&] { static_cast<void>(store.accept_loss()); });
  }
}

// `skald base --accept`: so much of the base left for good, and told nobody, that the rest is not more than half of it.
void rest::accept_base() {
  for (machine* m : home_.running()) {
    const dht::base base = m->proc().base();
    const auto missing = std::ranges::count_if(base.members, [this](const node_id& id) {
      const auto there = home_.machine_of(id);
      return there && home_.at(*there).left;
    });
    if (m->paused() || base.size() < 2 || static_cast<std::size_t>(2 * missing) < base.size()) continue;
    ++home_.happened["bases accepted"];
    home_.time.note("{} is told to accept the base: {} of {} have left", m->spec.name, missing, base.size());
    return m->proc().accept_base();
  }
}

bool rest::reach(duration limit) {
  phones_.hold(true);
  if (home_.sip) home_.sip->hold(true);
  const mono_time from = home_.time.now();
  std::string why = unrest();
  while (!why.empty() && !home_.time.stopped()) {
    mono_time until = from + limit;
    for (const machine* m : home_.running()) until = std::max(until, m->proc().damped_until() + limit);
    if (home_.time.now() > until) {
      home_.fail(3, fmt::format("not at rest after {} s: {}", limit.count() / 1'000'000, why));
      return false;
    }
    home_.time.run_for(look_again);
    if (faults_.overlapping() && home_.time.now() - from > operator_looks_after) {
      accept_losses();
      accept_base();
    }
    why = unrest();
  }
  home_.time.note("at rest after {} ms", (home_.time.now() - from).count() / 1000);
  compare_lists();
  home_.time.run_for(copies_equal_within);
  if (!home_.time.stopped()) compare_copies();
  if (!home_.time.stopped()) ask_everybody();
  if (!home_.time.stopped() && home_.sip) home_.sip->look_at_rest();
  if (!home_.time.stopped()) look_for_growth();
  ++reached_;
  phones_.hold(false);
  if (home_.sip) home_.sip->hold(false);
  return !home_.time.stopped();
}

// Invariant 9: under one view every node makes the same lists.
void rest::compare_lists() {
  const auto machines = home_.running();
  const dht::ring_ptr first = machines.front()->proc().rings().serving;
  for (const machine* m : machines) {
    const dht::ring_ptr other = m->proc().rings().serving;
    if (other == first) continue;
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      const partition p{static_cast<std::uint16_t>(i)};
      const dht::ring::list wanted = first->at(p), made = other->at(p);
      if (std::ranges::equal(wanted.span(), made.span(), [](const node_id* a, const node_id* b) { return *a == *b; })) continue;
      return home_.fail(9, fmt::format("{} and {} list other nodes for partition {}", machines.front()->spec.name, m->spec.name, i));
    }
  }
}

// Promise 4 and invariant 3: all who are listed hold the same.
void rest::compare_copies() {
  // What expires just now may be seen by one and not by the other, their clocks being a little apart: one time for all.
  unix_ms latest = 0;
  for (machine* m : home_.running()) latest = std::max(latest, m->proc().cluster_time());
  for (const auto& [table, key] : model_.keys()) {
    machine* first = nullptr;
    std::vector<dht::record> wanted;
    for (machine* m : home_.running()) {
      process& p = m->proc();
      if (!p.serving() || !p.rings().serving->at(key).has(p.id())) continue;
      auto held = p.whole_store().read(table, key);
      std::erase_if(held, [&](const dht::record& r) { return r.expires != 0 && r.expires < latest + 3000; });
      if (first == nullptr) {
        first = m;
        wanted = std::move(held);
        continue;
      }
      if (same_records(held, wanted)) continue;
      const auto text = [](const std::vector<dht::record>& rs) {
        std::string out;
        for (const auto& r : rs) out += fmt::format(" {}={}@{:x}.{:x}", r.item, number_in(r.value), r.version.hlc, r.version.writer >> 48);
        return out;
      };
      return home_.fail(3, fmt::format("copies differ: {} has{}; {} has{}", first->spec.name, text(wanted), m->spec.name, text(held)));
    }
  }
}

// Invariants 1 and 2: every node finds what was acknowledged and not what is gone, and is sure of it.
void rest::ask_everybody() {
  const duration skew = faults_.clocks_are_wrong() ? duration(seconds(4)) : duration(milliseconds(200));
  auto left = std::make_shared<std::size_t>(0);
  for (const auto& [table, key] : model_.keys())
    for (machine* m : home_.running()) {
      if (!m->proc().serving()) continue;
      ++*left;
      m->proc().turn([&] {
        m->proc().store().fetch(table, key, [this, table, key, m, left, skew](const dht::fetch_result& r) {
          --*left;
          const auto wrong = model_.judge_at_rest(table, key, r.records, m->proc().cluster_time(), skew);
          if (wrong) return home_.fail(wrong.invariant, fmt::format("{}, at {}", wrong.what, m->spec.name));
          if (!r.firm) home_.fail(3, fmt::format("{} is not sure of its answer at rest", m->spec.name));
        });
      });
    }
  home_.time.run_for(seconds(3));
  if (*left != 0) home_.fail(5, fmt::format("{} questions were never answered", *left));
}

// Invariant 8.
void rest::look_for_growth() {
  for (machine* m : home_.running()) {
    process& p = m->proc();
    const auto s = p.whole_store().stats();
    std::uint64_t records = 0;
    for (const auto& [t, n] : s.records) records += n;
    const std::size_t others = 64 + (home_.sip ? home_.sip->records_at_most() : 0);
    if (records > model_.items() + others) return home_.fail(8, fmt::format("{} holds {} records of {} items", m->spec.name, records, model_.items()));
    if (s.log_bytes > 2 * s.bytes + 2 * dht::log_rewrite_bytes_min) return home_.fail(8, fmt::format("the log of {} has {} bytes", m->spec.name, s.log_bytes));
    if (p.timers() > timers_max + (home_.sip ? sip_timers_max : 0)) return home_.fail(8, fmt::format("{} has {} timers at rest", m->spec.name, p.timers()));
    if (!s.missing.empty()) return home_.fail(8, fmt::format("{} has {} sources at rest", m->spec.name, s.missing.size()));
  }
  const auto machines = home_.running().size();
  if (home_.net.streams() > machines * machines * 4) home_.fail(8, fmt::format("{} streams among {} machines", home_.net.streams(), machines));
}

} // namespace skald::sim
