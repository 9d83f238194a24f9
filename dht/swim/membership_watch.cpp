// Heartbeats, probes and suspicion (ring-and-membership B1.1 to B1.5 and B1.7).
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dht/link/messages.hpp"
#include "dht/swim/membership.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter suspicions("skald_swim_suspicions_total", "Members that came under suspicion here");
metrics::counter removals("skald_swim_removals_total", "Members that this node removed when their time was up");

constexpr std::size_t small_cluster = 5;   // up to this many, everybody is everybody's neighbour
constexpr std::size_t sweep_batch = 32;    // probes per tick
constexpr int sweep_unheard_beats = 10;    // only who was not heard for so long
constexpr int sweep_window_beats = 20;     // two deaths within; each member once within
constexpr std::size_t sweep_signs = 2;     // deaths, or suspicions of two accusers
constexpr std::size_t hint_small_cluster = 16;
constexpr duration time_told_every = seconds(1);

} // namespace

// A two-way sign of life. It ends a probe; a suspicion only ends by the suspect's own word.
void membership::alive(peer& p, mono_time now) {
  p.heard = now;
  stop_probe(p);
}

// --- suspicion --------------------------------------------------------------------------------------------------------------

void membership::accuse(peer& p, accuser who, mono_time now) {
  if (is_self(p) || !p.known.alive()) return;
  if (p.suspected) {
    if (p.suspected->accuse(who)) news(p, now);
    return;
  }
  suspicions.add();
  table_.suspect(p, who, now);
  changed_ = neighbours_changed_ = true;
  news(p, now);
  if (p.neighbour && who != me()) start_probe(p, probe::kind::silent, now); // corroborate, or hear that it lives
}

void membership::judge_suspects(mono_time now) {
  for (bool again = true; again;) {
    again = false;
    for (peer* p : table_.suspects()) {
      if (p->suspected->deadline(config_.timing, table_.members_standing()) > now) continue;
      remove(*p, now); // takes it out of the list that is being walked
      again = true;
      break;
    }
  }
}

void membership::remove(peer& p, mono_time now) {
  removals.add();
  if (log::enabled(log::level::info)) log::info("swim", "removed " + (p.body.name.empty() ? p.known.id.hex() : p.body.name) + ": it did not answer");
  fact f = p.known;
  f.state = member_state::dead;
  adopt(p, f, now);
}

// --- probes -----------------------------------------------------------------------------------------------------------------

void membership::start_probe(peer& p, probe::kind why, mono_time now) {
  if (is_self(p) || !p.known.alive()) return;
  if (p.probe.why == why || p.probe.why == probe::kind::silent) return;
  if (p.probe.why == probe::kind::none) probes_.push_back(&p);
  p.probe = {.why = why, .sequence = ++sequence_, .started = now};
  next_question(p, now);
}

void membership::stop_probe(peer& p) {
  if (p.probe.why == probe::kind::none) return;
  p.probe.why = probe::kind::none;
  std::erase(probes_, &p);
}

// Ask; after `ping` ask again, and everywhere; then the verdict. A random probe waits for `silence` before it does so, and
// asks once more in between.
void membership::next_question(peer& p, mono_time now) {
  const profile& t = config_.timing;
  const duration full = health_.probe(t), patience = p.probe.why == probe::kind::random ? health_.silence(t) : duration::zero();
  const int last = p.probe.why == probe::kind::random ? 3 : 2; // questions in all
  if (p.probe.stage == last) return verdict(p, now);
  ++p.probe.stage;
  ping(p, p.probe.sequence);
  if (p.probe.stage == last) {
    ask_everywhere(p);
    p.probe.next = p.probe.started + patience + full;
  } else {
    p.probe.next = p.probe.started + (p.probe.stage == 1 ? t.ping : patience);
  }
}

void membership::ask_everywhere(peer& p) {
  table_.pick(static_cast<std::size_t>(config_.timing.helpers), rng_, picked_,
              [&](const peer& h) { return !is_self(h) && &h != &p && h.known.alive() && !h.suspected; });
  for (const peer* helper : picked_) {
    swim_message& m = compose(swim_kind::ask);
    m.sequence = p.probe.sequence;
    m.third = p.known.id;
    send(*helper);
  }
  links_.send(p.known.id, link_ping{p.probe.sequence}.encode());
}

// No answer by any way. With one that has just appeared patience is longer: its session may still be made.
void membership::verdict(peer& p, mono_time now) {
  const profile& t = config_.timing;
  const auto kind = p.probe.why;
  stop_probe(p);
  const bool new_to_me = p.heard == never && now - std::max(p.known_since, started_) < 3 * (t.silence + t.probe);
  if (new_to_me) return start_probe(p, kind, now);
  base_.probed(false, now);
  accuse(p, me(), now);
}

void membership::peer_hint(const node_id& peer_id, mono_time now) {
  wake(now);
  peer* p = table_.find(peer_id);
  if (p == nullptr) return;
  // In a large cluster all who had a link would probe in one instant: neighbours do, and about three others.
  const bool chosen = table_.alive() <= hint_small_cluster || p->neighbour || rng_.below(table_.alive()) < 3;
  if (chosen) start_probe(*p, probe::kind::silent, now);
  publish();
}

// --- neighbours -------------------------------------------------------------------------------------------------------------

// In id order two before and two after; suspects among them are watched, too, but do not count.
void membership::find_neighbours(mono_time now) {
  neighbours_changed_ = false;
  for (peer* p : neighbours_) p->neighbour = false;
  std::vector<peer*> former = std::move(neighbours_);
  neighbours_.clear();
  const auto& all = table_.all();
  const std::size_t self_at = table_.index_of(config_.self), n = all.size();
  const bool everybody = table_.alive() <= small_cluster;
  const auto take = [&](std::size_t at) {
    peer* p = all[at % n].get();
    if (is_self(*p) || !p->known.alive()) return 0;
    if (!p->neighbour) neighbours_.push_back(p);
    p->neighbour = true;
    return p->suspected ? 0 : 1;
  };
  const int wanted = everybody ? static_cast<int>(small_cluster) : config_.timing.neighbours_each_side;
  int found = 0;
  for (std::size_t i = 1; i < n && found < wanted; ++i) found += take(self_at + i);
  found = 0;
  for (std::size_t i = 1; i < n && found < wanted; ++i) found += take(self_at + n - i);
  for (peer* p : neighbours_) {
    if (std::ranges::find(former, p) != former.end()) continue;
    p->watched_since = now;
    if (p->heard == never || now - p->heard > config_.timing.silence) start_probe(*p, probe::kind::silent, now);
  }
  look_for_silence(now);
}

// Probes the neighbours that are silent, and notes when the next one would be.
void membership::look_for_silence(mono_time now) {
  const duration silence = health_.silence(config_.timing);
  next_silence_ = mono_time::max();
  for (peer* p : neighbours_) {
    const bool busy = p->probe.why == probe::kind::silent || (p->suspected && p->suspected->accused_by(me()));
    if (busy) continue;
    const mono_time due = std::max(p->heard, p->watched_since) + silence;
    if (due <= now) start_probe(*p, probe::kind::silent, now);
    else next_silence_ = std::min(next_silence_, due);
  }
}

void membership::beat(mono_time now) {
  const profile& t = config_.timing;
  health_.ticked(now - next_beat_, t);
  next_beat_ = now - next_beat_ < t.heartbeat ? next_beat_ + t.heartbeat : now + t.heartbeat;
  if (self_->known.state == member_state::left) return;
  const bool tells_time = now >= next_told_;
  if (tells_time) next_told_ = now + time_told_every;
  for (const peer* p : neighbours_) {
    swim_message& m = compose(swim_kind::heartbeat);
    m.echo = p->seen != never && now - p->seen <= t.silence;
    if (tells_time) m.clock = wall_.wall();
    send(*p);
  }
  if (stale_) {
    table_.pick(static_cast<std::size_t>(t.fan), rng_, picked_, [&](const peer& p) { return !is_self(p) && p.known.alive(); });
    for (peer* p : picked_) ping(*p, ++sequence_); // whose answer confirms the view
  }
  for (peer* p : table_.suspects())
    if (p->suspected->accused_by(me())) ping(*p, ++sequence_); // the buddy's ping: it must hear that it is accused
  look_for_silence(now); // here, too: whose probe has ended is watched for silence again
  sweep(now);
}

// After a mass failure neighbours may be dead with their neighbours: look at everybody who was not heard lately.
void membership::sweep(mono_time now) {
  const profile& t = config_.timing;
  while (!deaths_.empty() && now - deaths_.front() > sweep_window_beats * t.heartbeat) deaths_.pop_front();
  std::size_t signs = deaths_.size();
  for (const peer* p : table_.suspects())
    if (p->suspected->accusers().size() >= 2 && now - p->suspected->since() > t.suspicion_min / 2) ++signs;
  if (signs < sweep_signs) return;
  std::size_t probed = 0;
  for (const auto& p : table_.all()) {
    if (probed == sweep_batch) return;
    if (is_self(*p) || !p->known.alive() || p->suspected || p->probe.why != probe::kind::none) continue;
    if (now - p->heard < sweep_unheard_beats * t.heartbeat || now - p->swept < sweep_window_beats * t.heartbeat) continue;
    p->swept = now;
    ++probed;
    start_probe(*p, probe::kind::silent, now);
  }
}

} // namespace skald::dht
