// What the clock drives.
#include "dht/swim/membership.hpp"

#include <algorithm>
#include <utility>

namespace skald::dht {
namespace {

constexpr int slow_random_probes = 10; // among neighbours only: their clocks are asked, their lives are watched anyway
constexpr std::size_t dead_at_least_kept = 16;
constexpr duration forgetting_period = seconds(60);

} // namespace

void membership::tick(mono_time now) {
  wake(now);
  if (now >= next_beat_) beat(now);
  if (now >= next_silence_) look_for_silence(now);
  for (std::size_t i = 0; i < probes_.size();) {
    peer* p = probes_[i];
    if (p->probe.next <= now) next_question(*p, now);
    if (i < probes_.size() && probes_[i] == p) ++i; // else it is out of the list, and another stands here
  }
  judge_suspects(now);
  if (now >= next_random_) probe_at_random(now);
  if (now >= next_dead_) ping_the_dead(now);
  if (now >= next_housekeeping_) housekeeping(now);
  if (neighbours_changed_) find_neighbours(now);
  if (now >= next_gossip_) push_rumours(now);
  if (now >= next_bodies_) changed_ = true;
  publish();
}

// A gap in this node's own turns: it slept, and nobody could answer it meanwhile. So all that it measures begins later,
// and it first speaks: whoever holds it for dead says so in return. It does so in a new incarnation: what lay in its
// socket shows the old view, and confirms nothing; and partitions are merged again, for somebody may have held it for
// dead and served without it (consistency.md §4, §7).
void membership::wake(mono_time now) {
  const duration slept = now - last_turn_;
  last_turn_ = now;
  if (slept <= config_.timing.silence) return;
  set_stale(true);
  if (stale_ && self_->known.state != member_state::left && self_->known.self.incarnation < incarnation_max) {
    fact f = self_->known;
    ++f.self.incarnation;
    change_self(f, now);
  }
  shift(slept, now);
  beat(now);
}

void membership::shift(duration slept, mono_time now) {
  for (const auto& p : table_.all()) {
    for (mono_time* t : {&p->heard, &p->watched_since, &p->differs_since, &p->base_differs_since, &p->probe.started, &p->probe.next})
      if (*t != never) *t += slept;
    if (p->suspected) p->suspected->postpone(slept);
  }
  for (mono_time* t : {&next_silence_, &next_gossip_})
    if (*t != mono_time::max()) *t += slept;
  next_beat_ = std::min(next_beat_ + slept, now);
  next_random_ += slept;
  next_dead_ += slept;
}

void membership::push_rumours(mono_time now) {
  const profile& t = config_.timing;
  next_gossip_ = mono_time::max();
  if (rumours_.empty()) return;
  table_.pick(static_cast<std::size_t>(t.fan), rng_, picked_, [&](const peer& p) { return !is_self(p) && p.known.alive(); });
  swim_message& m = compose(swim_kind::gossip);
  // Told to nobody counts, too: alone, the queue must drain.
  rumours_.take(m.rumours, std::max(1, static_cast<int>(picked_.size())), t, table_.alive(), now);
  if (!picked_.empty() && !m.rumours.empty()) {
    const std::string bytes = encode(m);
    for (const peer* p : picked_) datagrams_.send(p->known.id, bytes);
  }
  if (!rumours_.empty()) next_gossip_ = now + t.gossip;
}

void membership::probe_at_random(mono_time now) {
  const profile& t = config_.timing;
  next_random_ += t.random_probe;
  if (next_random_ <= now) next_random_ = now + t.random_probe;
  if (self_->known.state == member_state::left) return;
  const bool strangers = table_.alive() > neighbours_.size() + 1;
  if (!strangers) next_random_ += t.random_probe * (slow_random_probes - 1);
  table_.pick(1, rng_, picked_, [&](const peer& p) {
    return !is_self(p) && p.known.alive() && !p.suspected && p.probe.why == probe::kind::none && (!strangers || !p.neighbour);
  });
  for (peer* p : picked_) start_probe(*p, probe::kind::random, now);
}

// The way back: one of the dead is told that it is held for dead, and in which life (B5).
void membership::ping_the_dead(mono_time now) {
  next_dead_ = now + config_.timing.dead_ping;
  if (!joined_)
    for (const node_id& c : contacts_) {
      ask_for_list(c, now);
    }
  if (table_.alive() == table_.all().size() || self_->known.state == member_state::left) return;
  table_.pick(1, rng_, picked_, [](const peer& p) { return p.known.state == member_state::dead; });
  for (peer* p : picked_) ping(*p, ++sequence_);
}

void membership::forget_the_old(mono_time now) {
  const std::size_t most = std::max(2 * largest_, dead_at_least_kept);
  const std::size_t dead = table_.all().size() - table_.alive();
  if (dead == 0 || (dead <= most && now - forgotten_ < forgetting_period)) return;
  forgotten_ = now;
  std::vector<peer*> gone;
  for (const auto& p : table_.all())
    if (!p->known.alive() && !is_self(*p) && now - p->died > config_.timing.keep_dead) gone.push_back(p.get());
  if (dead - gone.size() > most) { // the longest dead go first
    gone.clear();
    for (const auto& p : table_.all())
      if (!p->known.alive() && !is_self(*p)) gone.push_back(p.get());
    std::ranges::sort(gone, {}, &peer::died);
    gone.resize(gone.size() - std::min(gone.size(), most));
  }
  for (peer* p : gone) {
    rumours_.forget(*p);
    std::erase(neighbours_, p);
    table_.erase(*p);
    changed_ = true;
  }
}

void membership::housekeeping(mono_time now) {
  next_housekeeping_ = now + seconds(1);
  time_.adjust(now, wall_.wall());
  if (base_.settle(now)) base_changed();
  if (base_.isolated()) alone_at_ = now;
  ask_for_time(now);
  forget_the_old(now);
  if (std::exchange(bodies_missing_, false))
    for (const auto& p : table_.all())
      if (p->known.alive() && p->known.version > p->body.version && !is_self(*p)) want_body(p->known.id);
  if (wanted_state_ && now >= damped_until_) {
    const member_state s = *wanted_state_;
    damped_until_ = never;
    set_state(s, now);
  }
  if (stale_ && table_.alive() <= 1) set_stale(false);
  if (contested_ && now >= contested_until_) take_life(contested_->self.life, removal::contested, now);
  else if (contested_) contest_told_ = contested_->version; // asked again: the record may have been on its way
}

} // namespace skald::dht
