#include "tests/sim/machine.hpp"

#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"

#include <algorithm>
#include <cmath>

namespace skald::sim {
namespace {
constexpr unix_ms epoch_ms = 1'700'000'000'000;
} // namespace

machine::machine(cluster& home, machine_spec s)
    : spec(std::move(s)), disk(home.time), home_(home), world_base_(home.time.now()), mine_base_(home.time.now()) {
  disk.never_rewritten = home.opts.bug == plant::growing_log;
}

machine::~machine() = default;

mono_time machine::now() const {
  const auto passed = static_cast<double>((home_.time.now() - world_base_).count());
  return mine_base_ + duration(static_cast<std::int64_t>(std::floor(passed * rate_)));
}

unix_ms machine::wall() const {
  return epoch_ms + std::chrono::duration_cast<milliseconds>(now() - world::began).count() + wall_offset.count();
}

mono_time machine::in_world(mono_time mine) const {
  const auto ahead = static_cast<double>((mine - mine_base_).count()) / rate_;
  return world_base_ + duration(static_cast<std::int64_t>(std::ceil(ahead)));
}

void machine::set_drift(double ppm) {
  mine_base_ = now();
  world_base_ = home_.time.now();
  rate_ = 1 + ppm / 1e6;
}

bool machine::paused() const { return home_.net.paused(spec.number); }

void machine::start(bool warm) {
  if (process_) return;
  left = false;
  home_.net.set_power(spec.number, true);
  paused_until_ = {};
  process_ = std::make_unique<process>(home_, *this);
  home_.net.plug(spec.number, process_.get());
  home_.time.note("{} starts{}", spec.name, warm ? ", in a cluster that was there before" : "");
  process_->start(warm);
}

void machine::crash(crash_kind how) {
  if (home_.crashed) home_.crashed(spec.number, how);
  if (how != crash_kind::killed) home_.net.set_power(spec.number, false);
  home_.net.plug(spec.number, nullptr);
  process_.reset();
  disk.crash(how);
}

void machine::stop() {
  process_->close();
  home_.net.plug(spec.number, nullptr);
  process_.reset();
}

void machine::pause(duration d) {
  if (!process_) return;
  home_.net.set_paused(spec.number, true);
  paused_until_ = std::max(paused_until_, home_.time.now() + d);
  home_.time.at(paused_until_, [this] { wake(); });
}

void machine::wake() {
  if (!process_ || home_.time.now() < paused_until_ || !paused()) return;
  process_->wake();
}

} // namespace skald::sim
