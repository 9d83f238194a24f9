#include "tests/sim/run.hpp"

#include "base/log.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/rest.hpp"
#include "tests/sim/sip_world.hpp"

namespace skald::sim {
namespace {

constexpr duration forming_limit = seconds(60), healing_limit = seconds(120);

// By the seed: a cluster that was there before, or one that begins with its founder.
bool form(cluster& c, rest& calm) {
  if (c.size() > 16 || c.time.random.chance(0.75)) {
    c.start_warm();
  } else {
    for (machine_id i = 0; i < c.size(); ++i)
      c.time.after(milliseconds(c.time.random.below(4000)), [&c, i] { c.at(i).start(); });
    c.time.run_for(seconds(5));
  }
  return calm.reach(forming_limit);
}

void one_at_a_time(cluster& c, faults& f, rest& calm, mono_time end) {
  while (c.time.now() < end && !c.time.stopped()) {
    c.time.run_for(milliseconds(500 + c.time.random.below(4000)));
    const auto lasts = f.begin();
    if (!lasts) continue;
    c.time.run_for(*lasts);
    f.heal_all();
    if (!calm.reach(healing_limit)) return;
  }
}

void overlapping(cluster& c, faults& f, rest& calm, mono_time end) {
  const auto pause = milliseconds(500 + c.time.random.below(5000));
  while (c.time.now() < end && !c.time.stopped()) {
    c.time.run_for(duration(1 + static_cast<std::int64_t>(c.time.random.below(static_cast<std::uint64_t>(2 * duration(pause).count())))));
    (void)f.begin();
    if (c.time.random.chance(0.15)) {
      f.heal_all(); // and go on at once, or after a rest
      if (c.time.random.chance(0.5) && !calm.reach(healing_limit)) return;
    }
  }
}

} // namespace

std::string text_of(const std::map<std::string, std::size_t>& counts) {
  std::string out;
  for (const auto& [what, n] : counts) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", n, what);
  return out.empty() ? "none" : out;
}

std::string outcome_of_run::summary() const {
  return fmt::format("{} faults ({}; nodes: {}), {} rests, {:.0f} s; {} writes: {} acknowledged, {} failed ({} for want of memory), {} unanswered, {} refused; {} reads, {} firm, {} of them wrong; "
                     "{} datagrams, hash {:016x}",
                     faults, text_of(kinds), text_of(happened), rests, virtual_seconds, phones.asked, phones.acknowledged, phones.failed, phones.overloaded, phones.unanswered, phones.refused,
                     phones.reads, phones.firm, phones.wrong, datagrams, hash) +
         (sip.empty() ? "" : "\n  " + sip);
}

outcome_of_run run(const options& o) {
  cluster c(o);
  model m;
  c.stored = [&m](machine_id at, const dht::record& r) { m.held(at, r); };
  faults f(c, m);
  c.left = [&f](machine_id at) { f.note_left(at); };
  store_phones phones(c, m);
  rest calm(c, m, f, phones);
  phones.firm_must_be_right = [&](mono_time) { return !f.overlapping() && !f.cut_lately(); };

  if (o.sip) {
    c.sip = std::make_unique<sip_world>(c);
    c.crashed = [&c](machine_id at, crash_kind how) { c.sip->judge.note_crash(at, how); };
    c.sip->judge.strict = [&f](mono_time) { return !f.overlapping() && !f.cut_lately(); };
    c.sip->start();
  }
  if (form(c, calm)) {
    phones.start();
    const mono_time end = c.time.now() + duration(static_cast<std::int64_t>(o.hours * 3600e6));
    if (o.faults == fault_mode::none) c.time.run_until(end);
    else if (f.overlapping()) overlapping(c, f, calm, end);
    else one_at_a_time(c, f, calm, end);
    if (!c.time.stopped()) {
      f.heal_all();
      c.time.run_for(seconds(2)); // a moment of traffic on the healed cluster
      if (calm.reach(healing_limit) && c.sip) c.sip->look_at_end();
    }
  }
  outcome_of_run out;
  if (c.sip) out.sip = c.sip->summary();
  out.failure = c.failure();
  out.hash = c.time.hash();
  out.events = c.time.events();
  out.datagrams = c.net.datagrams();
  out.faults = f.count();
  out.kinds = f.by_kind();
  out.happened = c.happened;
  out.rests = calm.reached();
  out.phones = phones.counts();
  out.last_events = {c.time.last_events().begin(), c.time.last_events().end()};
  out.virtual_seconds = static_cast<double>(c.time.elapsed().count()) / 1e6;
  return out;
}

} // namespace skald::sim
