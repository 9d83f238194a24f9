#include "tests/sim/store_phones.hpp"

#include "tests/sim/process.hpp"

#include <algorithm>
#include <array>
#include <memory>

namespace skald::sim {
namespace {

constexpr duration answer_timeout = milliseconds(3500), answer_timeout_failed = milliseconds(500);
constexpr int out_of_order = 1; // roles::update_refusal

} // namespace

store_phones::store_phones(cluster& home, model& m) : home_(home), model_(m), random_(home.opts.seed ^ 0x70686f6e6573) {
  const auto keys = 2 + random_.below(5) + (home.large() ? static_cast<std::uint64_t>(home.size()) / 32 : 0);
  mean_ = milliseconds(100 + random_.below(3000));
  constexpr std::array<unix_ms, 4> grants{8'000, 20'000, 60'000, 600'000};
  for (std::uint64_t k = 0; k < keys; ++k) {
    const bool durable = random_.chance(0.3);
    const auto table = durable ? dht::table::subscribers : dht::table::bindings;
    const auto key = dht::key_of_aor(fmt::format("sip:user{}.{}@{}", home.opts.seed, k, home.domain()));
    const auto items = durable ? 1 : 1 + random_.below(3);
    for (std::uint64_t i = 0; i < items; ++i)
      phones_.push_back({{table, key, durable ? std::string() : fmt::format("c:phone{}", i)}, durable ? 0 : grants[random_.below(grants.size())],
                         durable || random_.chance(0.3)});
  }
}

duration store_phones::pause() { return duration(1 + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(2 * mean_.count())))); }

void store_phones::start() {
  for (std::size_t i = 0; i < phones_.size(); ++i) home_.time.after(pause(), [this, i] { act(i); });
  for (int i = 0; i < 2; ++i) home_.time.after(pause(), [this] { look(); });
}

machine* store_phones::any_machine() {
  if (home_.size() == 0) return nullptr;
  return &home_.at(static_cast<machine_id>(random_.below(static_cast<std::uint64_t>(home_.size()))));
}

// A message between two machines; lost with a cut, or with the process that it was for.
void store_phones::hop(machine_id from, machine_id to, std::function<void()> f) {
  if (from == to) return f();
  if (!home_.net.open(from, to)) return;
  home_.time.after(milliseconds(1), [this, from, to, f = std::move(f)] {
    machine& m = home_.at(to);
    if (home_.net.open(from, to) && m.running() && !m.paused()) m.proc().turn(f);
  });
}

void store_phones::act(std::size_t i) {
  const phone& p = phones_[i];
  machine* edge = any_machine();
  if (held_ || edge == nullptr || !edge->running() || edge->paused() || !edge->proc().serving()) { // another edge, soon (RFC 3263 §4.3)
    home_.time.after(answer_timeout_failed, [this, i] { act(i); });
    return;
  }
  const auto what = random_.chance(0.2) ? operation::kind::remove : operation::kind::put;
  const op_number n = model_.begin(p.item, what, p.grant_ms, home_.time.now());
  ++counts_.asked;
  ++under_way_;
  by_phone_[n] = i;
  home_.time.after(answer_timeout, [this, n] { give_up(n); });
  if (home_.time.deep)
    home_.time.note("operation {}: {} {} of {} through {}{}", n, what == operation::kind::put ? "put" : "remove", std::get<2>(p.item),
                    std::get<1>(p.item).hex().substr(0, 6), edge->spec.name, p.forwarded ? ", forwarded" : "");
  edge->proc().turn([&] {
    if (p.forwarded) write_forwarded(*edge, p, what, n);
    else write_by_rule(*edge, p, what, n);
  });
}

void store_phones::write_by_rule(machine& edge, const phone& p, operation::kind what, op_number n) {
  const node_id* owner = edge.proc().rings().serving->owner(std::get<1>(p.item));
  if (owner == nullptr) return;
  machine& there = home_.at(*home_.machine_of(*owner));
  const machine_id a = edge.spec.number, b = there.spec.number;
  const bool again = random_.chance(0.2); // a retransmission that another way brings late
  const auto ask = [this, &there, p, what, n, a, b] {
    at_owner(there, p, what, n, [this, a, b, n, p](dht::write_result r) {
      const bool alone = home_.at(b).proc().view() && std::ranges::count_if(home_.at(b).proc().view()->members, &dht::member::serving) <= 2;
      hop(b, a, [this, n, r = std::move(r), p, alone] { answered(n, r, p, alone); });
    });
  };
  hop(a, b, ask);
  if (again)
    home_.time.after(milliseconds(200 + random_.below(6000)), [this, a, b, &there, p, what, n] {
      if (there.running()) hop(a, b, [this, &there, p, what, n] { at_owner(there, p, what, n, [](const dht::write_result&) {}); });
    });
}

// The registrar's order (RFC 3261 §10.3 step 7): what is not newer than the binding is refused.
void store_phones::at_owner(machine& owner, const phone& p, operation::kind what, op_number n, std::function<void(dht::write_result)> answer) {
  process& at = owner.proc();
  const auto& [table, key, item] = p.item;
  const unix_ms expires = p.grant_ms == 0 ? 0 : at.cluster_time() + p.grant_ms;
  const bool ordered = home_.opts.bug != plant::no_order;
  auto rule = [this, item, what, n, expires, ordered](const std::vector<dht::record>& current) -> std::expected<std::vector<dht::change>, int> {
    const auto at_item = std::ranges::find(current, item, &dht::record::item);
    const op_number held = at_item == current.end() ? 0 : number_in(at_item->value);
    // Of a removed binding nothing is left to compare with: the phone's own Call-ID and nonce see to that (sip.md §4).
    const operation* mine = model_.find(n);
    const bool late = mine->how != operation::state::pending && mine->ended < home_.time.now();
    if (ordered && held == n) return std::vector<dht::change>{}; // carried out already
    if (ordered && (held > n || late)) return std::unexpected(out_of_order);
    if (what == operation::kind::remove) return std::vector<dht::change>{{item, {}, 0, true}};
    return std::vector<dht::change>{{item, value_of(n), expires, false}};
  };
  at.store().write(table, key, std::move(rule), std::move(answer));
}

void store_phones::write_forwarded(machine& edge, const phone& p, operation::kind what, op_number n) {
  process& at = edge.proc();
  const auto& [table, key, item] = p.item;
  dht::change c{item, {}, 0, true};
  if (what == operation::kind::put) c = {item, value_of(n), p.grant_ms == 0 ? 0 : at.cluster_time() + p.grant_ms, false};
  at.store().put(table, key, {c}, [this, n, p, &edge](dht::write_result r) {
    const bool alone = edge.running() && edge.proc().view() && std::ranges::count_if(edge.proc().view()->members, &dht::member::serving) <= 2;
    answered(n, r, p, alone);
  });
}

void store_phones::answered(op_number n, const dht::write_result& r, const phone& p, bool alone) {
  const operation* o = model_.find(n);
  if (o->how != operation::state::pending) return;
  go_on(n);
  if (!r.outcome) {
    const bool refused = r.outcome.error() == dht::write_error::refused;
    ++(refused ? counts_.refused : counts_.failed);
    counts_.overloaded += r.outcome.error() == dht::write_error::overloaded;
    return model_.end(n, refused ? operation::state::undone : operation::state::failed, home_.time.now());
  }
  unix_ms expires = 0;
  for (const auto& rec : *r.outcome)
    if (rec.item == std::get<2>(p.item)) expires = rec.expires;
  ++counts_.acknowledged;
  model_.end(n, operation::state::acknowledged, home_.time.now(), expires, alone);
}

void store_phones::go_on(op_number n) {
  --under_way_;
  home_.time.after(pause(), [this, i = by_phone_.at(n)] { act(i); });
  by_phone_.erase(n);
}

void store_phones::give_up(op_number n) {
  if (model_.find(n)->how != operation::state::pending) return;
  go_on(n);
  ++counts_.unanswered;
  model_.end(n, operation::state::unknown, home_.time.now());
}

void store_phones::look() {
  home_.time.after(pause(), [this] { look(); });
  if (held_) return;
  machine* at = any_machine();
  if (at == nullptr || !at->running() || at->paused() || !at->proc().serving() || phones_.empty()) return;
  const phone& p = phones_[random_.below(phones_.size())];
  const auto& [table, key, item] = p.item;
  ++counts_.reads;
  at->proc().turn([&] {
    at->proc().store().fetch(table, key, [this, table, key, at, from = home_.time.now()](const dht::fetch_result& r) {
      if (!r.firm) return;
      ++counts_.firm;
      const auto wrong = model_.judge_read(table, key, r.records, at->proc().cluster_time(), from);
      if (!wrong) return;
      home_.time.note("{} answers: {}", at->spec.name, wrong.what);
      if (firm_must_be_right(from)) home_.fail(wrong.invariant, fmt::format("{} at {}", wrong.what, at->spec.name));
      else ++counts_.wrong;
    });
  });
}

} // namespace skald::sim
