// faults: how each kind is done.
#include "dht/link/messages.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/process.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr int machines_joining_max = 3, twins_max = 3, revoked_max = 2;
constexpr duration losses_count_for = seconds(60);
constexpr duration revoked_within = seconds(2); // no member any more, at any node (design §8, consistency.md §8)
constexpr duration all_off_loses = milliseconds(1500); // a second between two syncs, and the sync
constexpr duration usual_sync = milliseconds(5);

} // namespace

// ---- the network

quality faults::usual_quality() const {
  quality q;
  if (home_.timing().heartbeat != dht::lan_profile().heartbeat) q.delay_min = milliseconds(10), q.delay_max = milliseconds(60);
  return q;
}

bool faults::spoil_network(fault f) {
  const bool lan = home_.timing().heartbeat == dht::lan_profile().heartbeat;
  quality q = usual_quality();
  if (f == fault::loss) q.loss = 0.01 + random_.unit() * 0.15;
  else if (f == fault::jitter) q.delay_max = lan ? milliseconds(5 + random_.below(40)) : milliseconds(100 + random_.below(100));
  else if (f == fault::duplicates) q.duplication = 0.05 + random_.unit() * 0.4;
  else q.reordering = 0.05 + random_.unit() * 0.3;
  home_.net.set_quality(q);
  started(f, fmt::format("loss {:.3f}, up to {} ms, duplicates {:.3f}, reordered {:.3f}", q.loss, q.delay_max.count() / 1000, q.duplication, q.reordering),
          [this] { home_.net.set_quality(usual_quality()); });
  return true;
}

bool faults::slow_link() {
  machine* m = victim();
  if (m == nullptr) return false;
  home_.net.set_slow(m->spec.number, milliseconds(random_.below(30)), 20'000 + random_.below(500'000));
  started(fault::slow_link, m->spec.name, [this, at = m->spec.number] { home_.net.set_slow(at, duration{0}, 0); });
  return true;
}

bool faults::cut(fault f) {
  std::vector<machine_id> rest, some;
  for (const machine* m : home_.running()) rest.push_back(m->spec.number);
  if (rest.size() < 2) return false;
  const std::string zone = home_.at(rest[random_.below(rest.size())]).spec.zone;
  const machine_id one = rest[random_.below(rest.size())];
  for (const machine_id m : rest) {
    const bool in = f == fault::cut_halves ? random_.chance(share_of(0.5)) : f == fault::cut_zone ? home_.at(m).spec.zone == zone && (!home_.large() || random_.chance(share_of(1))) : m == one;
    if (in) some.push_back(m);
  }
  std::erase_if(rest, [&](machine_id m) { return std::ranges::find(some, m) != some.end(); });
  if (some.empty() || rest.empty()) return false;
  if (f == fault::cut_one_way && random_.chance(0.5)) std::swap(some, rest);
  for (const machine_id x : some)
    for (const machine_id y : rest) {
      if (f == fault::cut_links) home_.net.cut_streams(x, y), home_.net.cut_streams(y, x);
      else if (f == fault::cut_datagrams) home_.net.cut_datagrams(x, y), home_.net.cut_datagrams(y, x);
      else home_.net.cut(x, y);
      if (f != fault::cut_one_way && f != fault::cut_datagrams && f != fault::cut_links) home_.net.cut(y, x);
    }
  cut_counts_until_ = mono_time::max();
  started(f, fmt::format("{} | {}", fmt::join(some, " "), fmt::join(rest, " ")), {});
  return true;
}

// ---- crashes

// What nobody holds any more: a breach of promise 1, unless two lost it within the time that a repair takes.
void faults::count_losses(const std::vector<machine*>& crashed, crash_kind how) {
  for (machine* m : crashed) {
    model_.drop(m->spec.number);
    const auto keep = [&](const dht::record& r) { model_.held(m->spec.number, r); };
    (void)m->disk.load([&](dht::record&& r) { keep(r); });
    m->disk.each_logged(keep);
  }
  if (how == crash_kind::killed) return;
  const mono_time now = home_.time.now();
  losses_.insert(losses_.end(), crashed.size(), now);
  std::erase_if(losses_, [&](mono_time t) { return now - t > losses_count_for; });
  const bool everybody = home_.running().empty();
  const auto excused = [&](const operation& o) {
    if (o.alone) return true;
    if (everybody && !overlapping_) return now - o.ended < all_off_loses;
    return overlapping_ && losses_.size() >= 2;
  };
  for (const op_number n : model_.note_losses(excused)) home_.time.note("operation {} was lost with all who held it", n);
}

// It has handed over what it held, or a second fault kept it from that.
void faults::note_left(machine_id m) {
  model_.drop(m);
  for (const op_number n : model_.note_losses([this](const operation& o) { return o.alone || overlapping_; }))
    home_.time.note("operation {} has left with the last who held it", n);
}

bool faults::everything_off() {
  const auto everybody = home_.running();
  if (everybody.empty() || home_.large()) return false;
  const crash_kind how = random_.chance(0.5) ? crash_kind::killed : random_.chance(0.5) ? crash_kind::power_lost : crash_kind::torn;
  started(fault::all_off, how == crash_kind::killed ? "killed" : how == crash_kind::torn ? "torn" : "power lost", {});
  for (machine* m : everybody) m->crash(how);
  count_losses(everybody, how);
  return true;
}

bool faults::crash_one(fault f, crash_kind how) {
  machine* m = victim();
  if (m == nullptr || (!overlapping_ && how == crash_kind::disk_gone && home_.running().size() < 3)) return false;
  started(f, m->spec.name, {});
  m->crash(how);
  count_losses({m}, how);
  if (f == fault::restart_at_once || random_.chance(0.2))
    home_.time.after(milliseconds(random_.below(f == fault::restart_at_once ? 200 : 5000)), [m] {
      if (!m->left) m->start();
    });
  return true;
}

// ---- one machine

bool faults::pause(fault f, duration d) {
  machine* m = victim();
  if (m == nullptr) return false;
  started(f, fmt::format("{} for {} ms", m->spec.name, d.count() / 1000), {});
  m->pause(d);
  return true;
}

bool faults::slow_disk() {
  machine* m = victim();
  if (m == nullptr) return false;
  m->disk.sync_time = milliseconds(50 + random_.below(1500));
  started(fault::slow_disk, fmt::format("{} {} ms", m->spec.name, m->disk.sync_time.count() / 1000), [m] { m->disk.sync_time = usual_sync; });
  return true;
}

bool faults::fill_disk() {
  machine* m = victim();
  if (m == nullptr) return false;
  m->disk.full = true;
  started(fault::disk_full, m->spec.name, [m] { m->disk.full = false; });
  return true;
}

void faults::kill(machine& m) {
  m.crash(crash_kind::killed);
  count_losses({&m}, crash_kind::killed);
}

// It starts anew with a budget for its store that what it holds uses up, or soon will; healed, with none.
bool faults::fill_memory() {
  machine* m = victim();
  if (m == nullptr || !m->proc().serving()) return false;
  const auto used = m->proc().whole_store().stats().memory;
  m->memory_budget = 1 + used / 10 * (5 + random_.below(8));
  started(fault::memory_full, fmt::format("{} holds {} bytes, and may hold {}", m->spec.name, used, m->memory_budget), [this, m] {
    m->memory_budget = 0;
    if (m->running()) kill(*m);
  });
  kill(*m);
  m->start();
  return true;
}

// A version that speaks the lowest wire version only, and after a while the present one again: a node that has not been
// upgraded yet. Not with other faults: then the trace of a source may be lost (docs/consistency.md, "Not promised").
bool faults::run_older() {
  machine* m = victim();
  if (m == nullptr || overlapping_ || !m->proc().serving()) return false;
  m->wire_highest = dht::wire_version_lowest;
  started(fault::older, m->spec.name, [this, m] {
    m->wire_highest = dht::wire_version_highest;
    if (m->running()) kill(*m);
  });
  kill(*m);
  m->start();
  return true;
}

bool faults::shift_clock(fault f, std::uint64_t span_ms) {
  machine* m = victim();
  if (m == nullptr) return false;
  m->wall_offset += milliseconds(static_cast<std::int64_t>(random_.below(span_ms)) - static_cast<std::int64_t>(span_ms / 2));
  clocks_wrong_ = true;
  started(f, fmt::format("{} is {} ms off", m->spec.name, m->wall_offset.count()), [m, this] {
    if (random_.chance(0.7)) m->wall_offset = milliseconds(0);
  });
  return true;
}

bool faults::drift_clock() {
  machine* m = victim();
  if (m == nullptr) return false;
  const double ppm = (random_.unit() - 0.5) * 400;
  m->set_drift(ppm);
  clocks_wrong_ = true;
  started(fault::clock_drift, fmt::format("{} {:.0f} ppm", m->spec.name, ppm), [m] { m->set_drift(0); });
  return true;
}

// ---- who is there

bool faults::join() {
  std::vector<machine*> gone;
  for (machine_id i = 0; i < home_.size(); ++i)
    if (home_.at(i).left && !home_.at(i).retired && !home_.at(i).running()) gone.push_back(&home_.at(i));
  machine* m = nullptr;
  if (!gone.empty()) m = gone[random_.below(gone.size())];
  else if (home_.size() < home_.first_machines() + machines_joining_max + twins_ + static_cast<int>(revoked_.named.size())) m = &home_.add_machine();
  if (m == nullptr) return false;
  started(fault::join, m->spec.name, {});
  m->start();
  return true;
}

bool faults::leave() {
  if (home_.serving().size() < 3) return false;
  machine* m = victim();
  if (m == nullptr || !m->proc().serving()) return false;
  started(fault::leave, m->spec.name, {});
  m->proc().leave();
  return true;
}

// `skald drain`: it leaves by itself once no call passes there any more, or (healed) when the operator will not wait longer.
bool faults::drain() {
  if (home_.serving().size() < 3) return false;
  machine* m = victim();
  if (m == nullptr || !m->proc().serving()) return false;
  started(fault::drain, m->spec.name, [m, drained = m->proc().number()] {
    if (m->running() && m->proc().number() == drained) m->proc().leave();
  });
  m->proc().drain();
  return true;
}

// The bundle was copied to another machine: alone, or with all of its disk (a virtual machine's image).
bool faults::start_twin() {
  machine* m = victim();
  if (m == nullptr || twins_ >= twins_max || revoked_.named.contains(m->spec.id)) return false;
  machine& twin = home_.add_twin(*m);
  ++twins_;
  const bool image = random_.chance(0.3);
  if (image) twin.disk.copy_from(m->disk);
  started(fault::twin, fmt::format("{}{}", twin.spec.name, image ? ", with its disk" : ""), {});
  twin.start();
  return true;
}

void faults::look_for_revoked(const node_id& id) {
  for (const machine* m : home_.serving())
    if (const dht::member* named = m->proc().view()->find(id); named != nullptr && named->alive() && m->spec.id != id)
      return home_.fail(3, fmt::format("{} is revoked for {} s, and still a member at {}", named->body.name, revoked_within.count() / 1'000'000, m->spec.name));
}

// `skald revoke`, told to one node: the others hear of it, and the one that it names stops, or is heard by nobody till
// somebody goes and switches it off. Whoever stole the bundle may start it meanwhile.
bool faults::revoke() {
  const auto serving = home_.serving();
  if (serving.size() < 3 || revoked_.named.size() >= revoked_max) return false;
  machine* m = serving[random_.below(serving.size())];
  machine* told = serving[random_.below(serving.size())];
  if (m == told || m->spec.number != home_.machine_of(m->spec.id)) return false;
  revoked_.named.insert(m->spec.id);
  revoked_.number = std::max(revoked_.number + 1, static_cast<std::uint64_t>(1'700'000'000'000 + home_.time.elapsed().count() / 1000));
  const bool stolen = !home_.founder(m->spec.number) && random_.chance(0.5); // a founder's would begin a cluster of its own
  if (stolen) {
    machine& thief = home_.add_twin(*m);
    ++twins_;
    home_.time.after(milliseconds(1500 + random_.below(1500)), [&thief] {
      if (!thief.left) thief.start();
    });
  }
  started(fault::revoke, fmt::format("{}, told to {}{}", m->spec.name, told->spec.name, stolen ? "; stolen" : ""), [this] {
    for (machine_id i = 0; i < home_.size(); ++i)
      if (revoked_.named.contains(home_.at(i).spec.id) && !home_.at(i).retired) home_.end_for_good(i);
  });
  if (!overlapping_) home_.time.after(revoked_within, [this, id = m->spec.id] { look_for_revoked(id); });
  told->proc().take_revocations(revoked_);
  return true;
}

} // namespace skald::sim
