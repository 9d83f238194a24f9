#include "tests/sim/faults.hpp"

#include "tests/sim/process.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr duration cut_lingers = seconds(15);

} // namespace

const char* name(fault f) {
  constexpr const char* names[] = {"loss", "jitter", "duplicates", "reordering", "one cut off", "cut in halves", "a zone cut off",
                                   "one-way cut", "datagrams cut", "false death", "pause", "kill", "restart at once", "power lost",
                                   "torn log", "disk gone", "slow disk", "disk full", "slow link", "clock offset", "clock drift",
                                   "clock jump", "join", "leave", "all off", "drain", "memory full", "twin", "revoke", "older version", "links cut"};
  static_assert(std::size(names) == fault_kinds);
  return names[static_cast<int>(f)];
}

// Of all, or of a large cluster about a few: each of those it is cut from sees all others die, one by one.
double faults::share_of(double usual) const {
  constexpr double cut_off_in_large = 6;
  return home_.large() ? cut_off_in_large / static_cast<double>(home_.size()) : usual;
}

faults::faults(cluster& home, model& m) : home_(home), model_(m), random_(home.opts.seed ^ 0x6661756c7473) {
  overlapping_ = home.opts.faults == fault_mode::overlap || (home.opts.faults == fault_mode::by_seed && home.opts.seed % 2 == 1);
  for (int i = 0; i < fault_kinds; ++i) weights_.push_back(random_.chance(0.5) ? 0.1 + random_.unit() : 0);
  if (std::ranges::count(weights_, 0.0) == fault_kinds) weights_[static_cast<int>(fault::kill)] = 1;
}

fault faults::choose() {
  double sum = 0;
  for (const double w : weights_) sum += w;
  double at = random_.unit() * sum;
  for (int i = 0; i < fault_kinds; ++i)
    if ((at -= weights_[static_cast<std::size_t>(i)]) < 0) return static_cast<fault>(i);
  return fault::kill;
}

std::optional<duration> faults::begin() {
  for (int attempt = 0; attempt < 8; ++attempt) {
    const fault f = choose();
    if (!apply(f)) continue;
    ++counts_[static_cast<std::size_t>(f)];
    // Short ones hurt in other ways than long ones.
    return random_.chance(0.4) ? duration(milliseconds(50 + random_.below(2000))) : duration(milliseconds(2000 + random_.below(15'000)));
  }
  return std::nullopt;
}

std::size_t faults::count() const {
  std::size_t n = 0;
  for (const std::size_t each : counts_) n += each;
  return n;
}

std::map<std::string, std::size_t> faults::by_kind() const {
  std::map<std::string, std::size_t> out;
  for (int i = 0; i < fault_kinds; ++i)
    if (const std::size_t n = counts_[static_cast<std::size_t>(i)]; n > 0) out[name(static_cast<fault>(i))] = n;
  return out;
}

void faults::started(fault f, std::string detail, std::function<void()> heal) {
  home_.time.note("FAULT {}: {}", name(f), detail);
  under_way_.push_back({f, std::move(heal)});
}

void faults::heal_all() {
  if (home_.net.any_cut()) cut_counts_until_ = home_.time.now() + cut_lingers;
  for (auto& a : std::exchange(under_way_, {})) {
    home_.time.note("HEALED {}", name(a.what));
    if (a.heal) a.heal();
  }
  home_.net.heal();
  found_anew();
  for (machine_id i = 0; i < home_.size(); ++i) {
    machine& m = home_.at(i);
    if (!m.left) m.start();
  }
  healed_ = home_.time.now();
}

// All disks are gone, and the founder has left for good: nobody may begin. Who is asked for help says --found on one node.
void faults::found_anew() {
  machine* first = nullptr;
  for (machine_id i = 0; i < home_.size(); ++i) {
    machine& m = home_.at(i);
    if (m.left) continue;
    if (home_.founder(i) || (m.running() ? m.proc().base() : m.disk.memory.base)) return;
    if (first == nullptr) first = &m;
  }
  if (first == nullptr) return;
  home_.time.note("{} is started with --found", first->spec.name);
  if (first->running()) first->crash(crash_kind::killed);
  first->found = true;
}

machine* faults::victim() {
  auto candidates = home_.running();
  std::erase_if(candidates, [](const machine* m) { return m->paused(); });
  if (candidates.empty()) return nullptr;
  return candidates[random_.below(candidates.size())];
}

bool faults::apply(fault f) {
  switch (f) {
  case fault::loss:
  case fault::jitter:
  case fault::duplicates:
  case fault::reordering: return spoil_network(f);
  case fault::slow_link: return slow_link();
  case fault::cut_one:
  case fault::cut_halves:
  case fault::cut_zone:
  case fault::cut_one_way:
  case fault::cut_datagrams:
  case fault::cut_links: return cut(f);
  case fault::kill: return crash_one(f, crash_kind::killed);
  case fault::restart_at_once: return crash_one(f, crash_kind::killed);
  case fault::power_lost: return crash_one(f, crash_kind::power_lost);
  case fault::torn: return crash_one(f, crash_kind::torn);
  case fault::disk_gone: return crash_one(f, crash_kind::disk_gone);
  case fault::all_off: return everything_off();
  case fault::false_death: return pause(f, milliseconds(650 + random_.below(600)));
  case fault::pause: return pause(f, milliseconds(50 + random_.below(8000)));
  case fault::slow_disk: return slow_disk();
  case fault::disk_full: return fill_disk();
  case fault::clock_offset: return shift_clock(f, 10'000);
  case fault::clock_jump: return shift_clock(f, 7'200'000);
  case fault::clock_drift: return drift_clock();
  case fault::join: return join();
  case fault::leave: return leave();
  case fault::drain: return drain();
  case fault::memory_full: return fill_memory();
  case fault::twin: return start_twin();
  case fault::revoke: return revoke();
  case fault::older: return run_older();
  }
  return false;
}

} // namespace skald::sim
