// State, view and publication. What others say is in membership_receive.cpp, watching in membership_watch.cpp, what the
// clock drives in membership_timers.cpp.
#include "dht/swim/membership.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"

#include <algorithm>
#include <utility>

namespace skald::dht {
namespace {

metrics::counter new_lives("skald_swim_new_lives_total", "Times this node was held for dead and took a new life");

constexpr std::size_t farewells_by_link = 3; // of them, over a link too
constexpr std::size_t farewells_max = 512; // members told directly of a leave; the rest hears it by gossip

} // namespace

membership::membership(membership_config c, datagrams& d, link_port& links, membership_observer& o, const clock& wall,
                       rng& random, mono_time now)
    : config_(std::move(c)), datagrams_(d), links_(links), observer_(o), wall_(wall), rng_(random),
      time_(now, wall.wall()), base_(config_.known_base), started_(now), last_turn_(now) {
  // life = max(start time in ms, known + 1), consistency.md §6
  const identity born{std::max(static_cast<std::uint64_t>(std::max<unix_ms>(wall_.wall(), 1)), config_.known_life + 1), 0};
  self_ = table_.add({config_.self, born, config_.begin, config_.body.version});
  self_->body = config_.body;
  first_version_ = config_.body.version;
  timed_ = self_->known.serving();
  const profile& p = config_.timing;
  const auto within = [&](duration d2) { return now + duration(rng_.below(static_cast<std::uint64_t>(d2.count()))); };
  next_beat_ = within(p.heartbeat);
  next_silence_ = mono_time::max();
  next_random_ = within(p.random_probe);
  next_dead_ = within(p.dead_ping);
  next_gossip_ = mono_time::max();
  next_housekeeping_ = now + seconds(1);
  view_ = make_view();
  base_changed_ = base_.look(view_, self_->known.state == member_state::active, now);
}

mono_time membership::next_deadline() const {
  mono_time first = std::min({next_beat_, next_silence_, next_random_, next_dead_, next_gossip_, next_housekeeping_, next_bodies_});
  for (const peer* p : probes_) first = std::min(first, p->probe.next);
  for (const peer* p : table_.suspects()) first = std::min(first, p->suspected->deadline(config_.timing, table_.members_standing()));
  return first;
}

// --- what the node wants ------------------------------------------------------------------------------------------------

void membership::set_timing(const profile& p, mono_time now) {
  config_.timing = p;
  next_beat_ = now; // the old period may be the longer one: others must not take the pause for silence
  next_random_ = std::min(next_random_, now + p.random_probe);
  next_dead_ = std::min(next_dead_, now + p.dead_ping);
}

void membership::contact(const node_id& peer_id, mono_time now) {
  if (peer_id == config_.self || revoked_.contains(peer_id)) return;
  const peer* p = table_.find(peer_id);
  if (joined_ && p != nullptr && p->known.alive()) return;
  if (!joined_) contacts_.insert(peer_id);
  ask_for_list(peer_id, now);
}

void membership::set_state(member_state s, mono_time now) {
  SKALD_ASSERT(s < member_state::dead);
  if (self_->known.state == member_state::left) return;
  if (now < damped_until_ && s != member_state::joining) {
    wanted_state_ = s;
    return;
  }
  wanted_state_.reset();
  if (s == self_->known.state) return;
  fact f = self_->known;
  if (s < f.state) ++f.self.incarnation; // within one incarnation only the stronger state wins
  f.state = s;
  if (f.serving() && !std::exchange(timed_, true)) time_.begin();
  change_self(f, now);
  publish();
}

void membership::leave(mono_time now) {
  if (self_->known.state == member_state::left) return;
  fact f = self_->known;
  f.state = member_state::left;
  change_self(f, now);
  table_.pick(farewells_max, rng_, picked_, [&](const peer& p) { return !is_self(p) && p.known.alive(); });
  for (const peer* p : picked_) {
    compose(swim_kind::gossip).rumours.push_back(rumour_about(*self_));
    send(*p);
  }
  // Where datagrams do not get through just now, links may.
  for (std::size_t i = 0; i < std::min(picked_.size(), farewells_by_link); ++i)
    send_list(picked_[i]->known.id, frame_type::members_exchange, 0);
  publish();
}

void membership::set_body(member_body b, mono_time now) {
  SKALD_ASSERT(b.version > self_->known.version);
  fact f = self_->known;
  f.version = b.version;
  self_->body = std::move(b);
  change_self(f, now);
  publish();
}

void membership::body_known(const node_id& member, const member_body& b, mono_time now) {
  peer* p = table_.find(member);
  if (p == nullptr || is_self(*p) || b.version <= p->body.version) return;
  p->body = b;
  next_bodies_ = std::min(next_bodies_, now + bodies_gather);
}

void membership::merge(std::span<const fact> facts, mono_time now) {
  for (const fact& f : facts) merge_one(f, now);
  publish();
}

void membership::revoke(const node_id& peer_id, mono_time now) {
  if (peer_id == config_.self || !revoked_.insert(peer_id).second) return;
  contacts_.erase(peer_id);
  if (peer* p = table_.find(peer_id); p != nullptr && p->known.state != member_state::left) {
    fact f = p->known;
    f.state = member_state::left;
    adopt(*p, f, now);
  }
  publish();
}

void membership::accept_base(mono_time now) {
  base_.accept(now);
  base_changed();
  publish();
}

std::vector<fact> membership::facts() const {
  std::vector<fact> out;
  for (const auto& p : table_.all())
    if (p->known.alive()) out.push_back(p->known);
  return out;
}

// --- state ----------------------------------------------------------------------------------------------------------------

void membership::news(peer& p, mono_time now) {
  rumours_.add(p, now);
  // The first push follows almost at once, a little scattered so that a thousand nodes don't speak in one instant.
  next_gossip_ = std::min(next_gossip_, now + duration(200 + rng_.below(1800)));
}

void membership::change_self(const fact& f, mono_time now) {
  table_.change(*self_, f);
  changed_ = true;
  news(*self_, now);
}

// The same key, at work elsewhere? Until that is known this life is not raised: two would outbid each other for ever.
void membership::contest(const fact& f, mono_time now) {
  if (!contested_) contested_until_ = now + contest_patience;
  if (!contested_ || contested_->version != f.version) contest_told_ = f.version;
  contested_ = f;
}

void membership::contest_over(mono_time now) {
  if (!contested_) return;
  take_life(contested_->self.life, removal::contested, now);
  publish();
}

// The network was cut, not this node slow: it had removed others too, who speak again. Who was alone all the while is
// the one that flaps (decision 26).
bool membership::cut_off_from_others(mono_time now) const {
  if (alone_at_ != never && now - alone_at_ < returned_lately) return false;
  return std::ranges::any_of(table_.all(), [&](const auto& p) {
    return p->died != never && now - (p->known.alive() ? p->known_since : p->seen) < returned_lately;
  });
}

void membership::take_life(std::uint64_t above, removal why, mono_time now) {
  contested_.reset();
  fact f = self_->known;
  f.self = {std::min(std::max(above, f.self.life) + 1, life_max), 0};
  // Who only waits swings no ring: its removals are not counted (decision 20). Nor is a life that another process took.
  const bool served = f.state == member_state::active || f.state == member_state::draining;
  const bool counts = served && why == removal::held_for_dead && !cut_off_from_others(now);
  const duration penalty = counts ? damping_.removed(now) : duration::zero();
  if (penalty > duration::zero()) {
    if (now >= damped_until_) wanted_state_ = f.state;
    damped_until_ = now + penalty;
    f.state = member_state::joining;
  }
  new_lives.add();
  log::warning("swim", why == removal::contested ? "another life of this node's id was told of; it takes the next one"
                                                 : "this node was held for dead by others and takes a new life");
  change_self(f, now);
  removed_ = penalty;
  set_stale(true);
}

void membership::want_body(const node_id& member) {
  bodies_wanted_.push_back(member);
  bodies_missing_ = true;
}

// A stronger fact about another member.
void membership::adopt(peer& p, const fact& f, mono_time now) {
  const fact was = p.known;
  table_.change(p, f);
  changed_ = true;
  if (f.self > was.self || !f.alive()) {
    if (p.suspected) neighbours_changed_ = true;
    table_.clear_suspicion(p);
  }
  if (was.alive() != f.alive() || was.self.life != f.self.life) neighbours_changed_ = true;
  if (!f.alive() && was.alive()) {
    stop_probe(p);
    p.died = now;
    p.differs_since = never;
    time_.forget(f.id);
    if (f.state == member_state::dead) deaths_.push_back(now);
  }
  if (f.alive() && (!was.alive() || was.self.life != f.self.life)) {
    p.known_since = now;
    p.heard = never;
  }
  if (f.alive() && f.version > p.body.version) want_body(f.id);
  largest_ = std::max(largest_, table_.alive());
  news(p, now);
}

// A member that was not known.
peer* membership::take_up(const fact& f, mono_time now) {
  peer* p = table_.add(f);
  if (p == nullptr) return nullptr;
  p->known_since = now;
  changed_ = true;
  if (!f.alive()) {
    p->died = now;
    return p;
  }
  neighbours_changed_ = true;
  want_body(f.id);
  largest_ = std::max(largest_, table_.alive());
  news(*p, now);
  return p;
}

void membership::set_stale(bool stale) {
  if (stale && table_.alive() <= 1) stale = false; // nobody else could have decided anything
  if (stale) stale_since_ = sequence_;
  if (stale == stale_) return;
  stale_ = stale;
  stale_told_ = stale;
  changed_ = true; // who doubts its view sets no base
}

void membership::base_changed() { base_changed_ = changed_ = true; }

// --- publication ------------------------------------------------------------------------------------------------------------

view_ptr membership::make_view() const {
  auto v = std::make_shared<view>();
  v->self = config_.self;
  v->members.reserve(table_.all().size());
  for (const auto& p : table_.all())
    v->members.push_back({p->known.id, p->known.self.life, p->known.self.incarnation, p->known.state, p->suspected.has_value(), p->body});
  v->stamp = {table_.digest(), table_.newest_version()};
  return v;
}

// The end of every call that may change something. A callback may call in again: then the outer loop goes round once more.
void membership::publish() {
  if (publishing_) return;
  publishing_ = true;
  while (changed_ || base_changed_ || removed_ || stale_told_ || contest_told_ || !bodies_wanted_.empty()) {
    if (std::exchange(changed_, false)) {
      next_bodies_ = mono_time::max();
      view_ = make_view();
      const member_state s = self_->known.state;
      const bool entitled = (s == member_state::active || s == member_state::draining) && !stale_;
      if (base_.look(view_, entitled, last_turn_)) base_changed_ = true;
      if (std::exchange(base_changed_, false)) observer_.on_base(base_.current());
      observer_.on_view(view_);
    }
    if (const auto penalty = std::exchange(removed_, std::nullopt)) observer_.on_self_removed(self_->known.self.life, *penalty);
    if (const auto stale = std::exchange(stale_told_, std::nullopt)) observer_.on_stale(*stale);
    if (const auto version = std::exchange(contest_told_, std::nullopt)) observer_.on_contested(*version);
    for (const node_id& id : std::exchange(bodies_wanted_, {}))
      if (const peer* p = table_.find(id); p != nullptr && p->known.alive() && p->known.version > p->body.version)
        observer_.on_body_wanted(id, p->known.version);
  }
  publishing_ = false;
}

// --- sending ----------------------------------------------------------------------------------------------------------------

swim_message& membership::compose(swim_kind kind) {
  out_.kind = kind;
  out_.echo = false;
  out_.sender = self_->known;
  out_.digest = table_.digest();
  out_.base_epoch = base_.current().epoch;
  out_.base_check = base_.check();
  out_.sequence = 0;
  out_.third = {};
  out_.clock = 0;
  out_.rumours.clear();
  return out_;
}

void membership::send(const peer& to) { datagrams_.send(to.known.id, encode(out_)); }

// A suspect hears with every ping that it is one, and one that is held for dead that it is held so: both can then answer.
void membership::ping(peer& p, std::uint32_t sequence, const node_id& on_behalf_of) {
  swim_message& m = compose(swim_kind::ping);
  m.sequence = sequence;
  m.third = on_behalf_of;
  if (p.suspected || !p.known.alive()) m.rumours.push_back(rumour_about(p));
  send(p);
}

void membership::ask_for_list(const node_id& to, mono_time now) {
  exchange_sent_ = moment(now);
  send_list(to, frame_type::members_exchange, exchange_sent_);
}

void membership::send_list(const node_id& to, frame_type type, std::uint64_t asked) {
  members_list l{.cluster_time = time_.time(last_turn_), .facts = {}, .agreed = base_.current(), .asked = asked};
  l.facts.reserve(table_.all().size());
  for (const auto& p : table_.all()) l.facts.push_back(p->known);
  links_.send(to, {type, 1, encode(l)});
}

} // namespace skald::dht
