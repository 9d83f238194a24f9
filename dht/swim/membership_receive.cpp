// What others say: datagrams, rumours in them, and lists of facts over links.
#include "base/metrics.hpp"
#include "dht/link/messages.hpp"
#include "dht/swim/membership.hpp"

#include <algorithm>
#include <utility>

namespace skald::dht {
namespace {

metrics::counter malformed("skald_swim_malformed_total", "Gossip datagrams and member lists that could not be read");
metrics::counter exchanges("skald_swim_exchanges_total", "Full exchanges of the member list begun");
metrics::counter refutations("skald_swim_refutations_total", "Suspicions of this node that it refuted");

constexpr int differing_ticks = 5;       // of gossip: longer is no news on its way any more, but news that was lost
constexpr std::chrono::seconds time_trip_max{1}; // of an exchange that tells the time
constexpr int exchange_pause_ticks = 10; // of gossip, between two exchanges that this node begins

// May `f` replace what is known? A removed node returns only with a new life: a refutation that comes after its
// removal must not revive it without its knowing (ring-and-membership B1).
bool replaces(const fact& f, const fact& known) {
  if (!known.alive() && f.alive()) return f.self.life > known.self.life;
  return stronger(f, known);
}

} // namespace

void membership::receive(const node_id& from, std::string_view datagram, mono_time now) {
  wake(now);
  if (from == config_.self || revoked_.contains(from)) return;
  if (!decode(datagram, in_)) {
    malformed.add();
    return;
  }
  in_.sender.id = from;
  if (peer* p = heard_from(from, now)) handle(*p, now);
  if (neighbours_changed_) find_neighbours(now);
  publish();
}

// The sender's own fact comes first: it is the strongest witness of itself.
peer* membership::heard_from(const node_id& from, mono_time now) {
  peer* p = table_.find(from);
  if (p == nullptr) p = take_up(in_.sender, now);
  else if (replaces(in_.sender, p->known)) adopt(*p, in_.sender, now);
  if (p != nullptr) p->seen = now;
  return p;
}

void membership::handle(peer& p, mono_time now) {
  // One that I hold for dead is believed only about itself and about me; and it is told.
  const bool believed = p.known.alive();
  for (const rumour& r : in_.rumours)
    if (believed || r.about.id == config_.self || r.about.id == p.known.id) take_rumour(p, r, now);
  if (!believed && p.known.state == member_state::dead && in_.kind != swim_kind::ping && now - p.noticed >= config_.timing.heartbeat) {
    p.noticed = now;
    compose(swim_kind::ack).rumours.push_back(rumour_about(p));
    send(p);
  }
  switch (in_.kind) {
    case swim_kind::heartbeat:
      if (!believed) return;
      if (in_.echo) alive(p, now);
      if (in_.clock != 0) time_.heard(p.known.id, in_.clock, now);
      if (!p.neighbour) { // it watches me, I don't watch it: say that it is heard
        compose(swim_kind::ack);
        send(p);
      }
      break;
    case swim_kind::ping: {
      swim_message& m = compose(swim_kind::ack);
      m.sequence = in_.sequence;
      m.third = in_.third;
      m.clock = wall_.wall();
      if (p.suspected || !p.known.alive()) m.rumours.push_back(rumour_about(p));
      send(p);
      break;
    }
    case swim_kind::ack: on_ack(p, now); break;
    case swim_kind::ask:
      if (peer* target = table_.find(in_.third); believed && target != nullptr && !is_self(*target)) ping(*target, in_.sequence, p.known.id);
      break;
    case swim_kind::relayed:
      if (believed) on_relayed(now);
      break;
    case swim_kind::gossip: break;
  }
  if (p.known.alive()) {
    compare_digest(p, now);
    compare_base(p, now);
    base_.showed(p.known.id, in_.digest == table_.digest(), now);
  }
  // Only what answers a ping of after the sleep: datagrams of before it wait in the socket, and show the view of then.
  const bool answers = in_.kind == swim_kind::ack && in_.third.is_zero() && static_cast<std::int32_t>(in_.sequence - stale_since_) > 0;
  if (stale_ && answers && p.known.alive() && in_.digest == table_.digest()) set_stale(false);
}

void membership::on_ack(peer& p, mono_time now) {
  if (!p.known.alive()) return;
  if (p.probe.why != probe::kind::none && in_.sequence == p.probe.sequence && in_.clock != 0 && in_.third.is_zero()) {
    // Its clock was read half a round trip ago. Only the first ping's answer is timed: after that one doesn't know which.
    const auto half = std::chrono::duration_cast<milliseconds>((now - p.probe.started) / 2);
    if (p.probe.stage == 1) time_.sample(p.known.id, in_.clock + half.count(), now);
    base_.probed(in_.digest == table_.digest(), now);
  }
  alive(p, now);
  if (in_.third.is_zero() || in_.third == config_.self) return;
  const peer* asker = table_.find(in_.third);
  if (asker == nullptr || !asker->known.alive()) return;
  const std::uint32_t sequence = in_.sequence;
  swim_message& m = compose(swim_kind::relayed);
  m.sequence = sequence;
  m.third = p.known.id;
  send(*asker);
}

void membership::on_relayed(mono_time now) {
  peer* target = table_.find(in_.third);
  if (target == nullptr || target->probe.why == probe::kind::none || target->probe.sequence != in_.sequence) return;
  alive(*target, now);
}

// --- rumours ----------------------------------------------------------------------------------------------------------------

void membership::take_rumour(peer& from, const rumour& r, mono_time now) {
  if (revoked_.contains(r.about.id)) return;
  if (r.about.id == config_.self) return about_self(r, now);
  peer* p = table_.find(r.about.id);
  if (p == nullptr) {
    if (!r.about.alive()) return; // nothing to bury
    p = take_up(r.about, now);
    if (p == nullptr) return;
  } else if (r.about.state == member_state::dead && p->known.alive()) {
    return take_death(*p, r, from.known.id.head(), now);
  } else if (replaces(r.about, p->known)) {
    adopt(*p, r.about, now);
  }
  if (!p->known.alive() || r.about.self != p->known.self) return;
  for (const accuser a : r.who()) accuse(*p, a, now);
}

// A death needs a suspicion: of one whom I do not suspect, it is only an accusation.
void membership::take_death(peer& p, const rumour& r, accuser who, mono_time now) {
  if (r.about.self < p.known.self) return; // it has refuted since
  if (p.suspected) return adopt(p, r.about, now);
  if (r.about.self > p.known.self) {
    fact f = r.about;
    f.state = p.known.state;
    adopt(p, f, now);
  }
  accuse(p, who, now);
}

void membership::about_self(const rumour& r, mono_time now) {
  const fact& mine = self_->known;
  if (mine.state == member_state::left) return;
  // Held for dead in this life, whatever the incarnation: who holds me so will not believe a refutation any more.
  if (!r.about.alive()) {
    if (r.about.self.life >= mine.self.life) take_life(r.about.self.life, removal::held_for_dead, now);
    return;
  }
  if (r.about.self.life > mine.self.life)
    return is_own_version(r.about.version) ? take_life(r.about.self.life, removal::held_for_dead, now) : contest(r.about, now);
  if (r.about.self.life < mine.self.life) return;
  const bool accused = r.accuser_count > 0 && r.about.self.incarnation >= mine.self.incarnation;
  if (!accused && !stronger(r.about, mine)) return;
  if (r.about.self.incarnation >= incarnation_max) return take_life(mine.self.life, removal::held_for_dead, now);
  fact f = mine;
  f.self.incarnation = r.about.self.incarnation + 1;
  if (accused) {
    refutations.add();
    health_.refuted_a_suspicion();
  }
  change_self(f, now);
}

// --- full exchange ----------------------------------------------------------------------------------------------------------

void membership::on_frame(const node_id& from, const frame& f, mono_time now) {
  wake(now);
  if (from == config_.self || revoked_.contains(from)) return;
  if (f.type == frame_type::link_ping) {
    // Over the same link: a datagram in answer would hide that this link is all that works (ring-and-membership B3).
    if (const auto p = link_ping::decode(f)) links_.send(from, link_pong{p->number}.encode());
  } else if (f.type == frame_type::link_pong) {
    const auto pong = link_pong::decode(f);
    peer* p = table_.find(from);
    if (pong && p != nullptr && p->probe.why != probe::kind::none && pong->number == p->probe.sequence) alive(*p, now);
  } else if (f.type == frame_type::members_exchange || f.type == frame_type::members_reply) {
    const auto list = decode_members(f.body);
    if (!list) return malformed.add();
    if (f.type == frame_type::members_reply) {
      if (!std::exchange(joined_, true)) contacts_.clear();
      take_time(*list, from, now);
    }
    merge_list(*list, &from, now);
    if (f.type == frame_type::members_exchange) send_list(from, frame_type::members_reply, list->asked);
  }
  if (neighbours_changed_) find_neighbours(now);
  publish();
}

// consistency.md §5: a joiner steps to the time of those that serve, nobody else steps. Another joiner's time is its own
// clock's, which may be wrong by an hour.
void membership::take_time(const members_list& l, const node_id& from, mono_time now) {
  const std::uint64_t asked = l.asked != 0 ? l.asked : exchange_sent_;
  if (timed_ || asked == 0 || asked > moment(now)) return;
  // A reply that was long under way, in a stream that stood still, tells the time of when it was sent.
  const auto trip = std::chrono::microseconds(moment(now) - asked);
  if (trip > time_trip_max) return;
  const auto sender = std::ranges::find(l.facts, from, &fact::id);
  if (sender == l.facts.end() || !sender->serving()) return;
  timed_ = true;
  time_.step(l.cluster_time + std::chrono::duration_cast<milliseconds>(trip / 2).count(), now);
}

bool membership::others_serve() const {
  return std::ranges::any_of(table_.all(), [&](const auto& p) { return !is_self(*p) && p->known.serving(); });
}

// It was a joiner that answered first, and by now somebody serves.
void membership::ask_for_time(mono_time now) {
  if (timed_ || !joined_ || now < exchange_free_) return;
  table_.pick(1, rng_, picked_, [&](const peer& p) { return !is_self(p) && p.known.serving(); });
  for (const peer* p : picked_) begin_exchange(p->known.id, now);
}

void membership::merge_list(const members_list& l, const node_id* from, mono_time now) {
  for (const fact& f : l.facts)
    if (f.id == *from) merge_one(f, now);
  const peer* sender = table_.find(*from);
  const bool believed = sender != nullptr && sender->known.alive();
  for (const fact& f : l.facts)
    if (f.id != *from && (believed || f.id == config_.self)) merge_one(f, now);
  if (believed && base_.adopt(l.agreed, now)) base_changed();
}

void membership::merge_one(const fact& f, mono_time now) {
  if (revoked_.contains(f.id)) {
    fact gone = f; // that it is gone for good is to be known, as of who left: else it is missed as one that may come back
    gone.state = member_state::left;
    if (table_.find(f.id) == nullptr) take_up(gone, now);
    return;
  }
  if (f.id == config_.self) return about_self({.about = f}, now);
  peer* p = table_.find(f.id);
  if (p == nullptr) {
    take_up(f, now);
  } else if (f.state == member_state::dead && p->known.alive()) {
    if (f.self.life >= p->known.self.life) hearsay(*p, f, now);
  } else if (replaces(f, p->known)) {
    adopt(*p, f, now);
  }
}

// A death in a full exchange never removes: the one it is about is told, and takes a new life; or it does not answer, and
// becomes a suspect in the ordinary way.
void membership::hearsay(peer& p, const fact& death, mono_time now) {
  if (now - p.noticed < config_.timing.silence) return;
  p.noticed = now;
  swim_message& m = compose(swim_kind::ping);
  m.rumours.push_back({.about = death});
  send(p);
  start_probe(p, probe::kind::random, now);
}

void membership::compare_digest(peer& p, mono_time now) {
  if (in_.digest == table_.digest()) {
    p.differs_since = never;
    return;
  }
  if (p.differs_since == never) p.differs_since = now;
  if (now - p.differs_since <= config_.timing.gossip * differing_ticks || now < exchange_free_) return;
  p.differs_since = now;
  begin_exchange(p.known.id, now);
}

// The sender has a newer base. Most of a change reaches everybody as a view first, from which each makes the same base.
void membership::compare_base(peer& p, mono_time now) {
  const base& mine = base_.current();
  const bool theirs_newer = in_.base_epoch > mine.epoch || (in_.base_epoch == mine.epoch && mine && in_.base_check != base_.check());
  if (!theirs_newer) {
    p.base_differs_since = never;
    return;
  }
  if (p.base_differs_since == never) p.base_differs_since = now;
  if (now - p.base_differs_since <= config_.timing.gossip * differing_ticks || now < exchange_free_) return;
  p.base_differs_since = now;
  begin_exchange(p.known.id, now);
}

void membership::begin_exchange(const node_id& with, mono_time now) {
  exchange_free_ = now + config_.timing.gossip * exchange_pause_ticks;
  exchanges.add();
  ask_for_list(with, now);
}

void membership::compare_views(const node_id& with, mono_time now) {
  const peer* p = table_.find(with);
  if (p == nullptr || is_self(*p) || !p->known.alive() || now < exchange_free_) return;
  begin_exchange(with, now);
}

} // namespace skald::dht
