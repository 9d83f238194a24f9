#include "node/cluster/cluster_life.hpp"

#include "base/metrics.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::node {
namespace {

metrics::gauge half_dead_now("skald_cluster_half_dead", "1 while this node has stepped back: its disk or its links do not work");
metrics::gauge isolated_now("skald_cluster_isolated", "1 while this node sees no other member of a base of three or more");

std::size_t alive_count(const dht::view& v) {
  return static_cast<std::size_t>(std::ranges::count_if(v.members, [](const dht::member& m) { return m.alive(); }));
}

bool others_serve(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && m.serving(); });
}

bool another_is_active(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && m.state == dht::member_state::active; });
}

// With no base, a node that has ever heard of another one is no founder: a cluster is there, though nobody answers now.
bool heard_of_a_cluster(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && (!m.alive() || m.serving()); });
}

std::string name_of(const dht::view& v, const node_id& id) {
  const dht::member* m = v.find(id);
  return m != nullptr && !m->body.name.empty() ? m->body.name : id.hex().substr(0, 8);
}

bool bodies_known(const dht::view& v) {
  return std::ranges::all_of(v.members, [](const dht::member& m) { return !m.alive() || m.body.version > 0; });
}

// This node's place among the living of the base, by id: where nobody serves they begin in turn, not all at once.
std::int64_t rank(const dht::view& v, const dht::base& b) {
  std::int64_t before = 0;
  for (const dht::member& m : v.members) before += m.alive() && m.id < v.self && b.contains(m.id) ? 1 : 0;
  return before;
}

} // namespace

cluster_life::cluster_life(life_config config, life_port& port, dht::membership& members, dht::store& store, shared_state& shared,
                           scheduler& timers, const clock& time)
    : config_(std::move(config)), port_(port), members_(members), store_(store), shared_(shared), timers_(timers), time_(time),
      base_(std::make_shared<const dht::base>(config_.base)), started_(time_.now()),
      was_active_(members_.state() == dht::member_state::active) {}

void cluster_life::set_state(dht::member_state s) {
  members_.set_state(s, time_.now());
  port_.membership_changed();
}

// ---- the view

void cluster_life::on_view(dht::view_ptr v) {
  rings_ = port_.rings_for(*v);
  store_.set_view(v, rings_);
  drop_links_of_dead(view_.get(), *v);
  view_ = std::move(v);
  note_isolation();
  publish_facts();
  remember();
}

// Once the node is back, what was sent meanwhile would wait for TCP's next try, seconds later; a new link does not. Not
// at once: the store is told of it, and this may be its turn.
void cluster_life::drop_links_of_dead(const dht::view* before, const dht::view& now) {
  for (const dht::member& m : now.members) {
    const dht::member* was = before != nullptr ? before->find(m.id) : nullptr;
    if (m.alive() || was == nullptr || !was->alive()) continue;
    timers_.at(time_.now(), [this, id = m.id] {
      const dht::member* m = view_->find(id);
      if (m == nullptr || !m->alive()) port_.drop_links(id);
    });
  }
}

void cluster_life::publish_facts() {
  if (!view_) return;
  auto f = std::make_shared<roles::cluster_facts>();
  f->view = view_;
  f->registrars = rings_.serving;
  f->keys = shared_.keys();
  f->config = shared_.config();
  f->base = base_;
  f->isolated = isolated_;
  f->serving = view_->me().serving() && shared_.loaded() && !stale_ && !leaving_ && !isolated_ && !draining_ && half_dead_.empty();
  f->names_in_dns = names_in_dns_;
  const node_id* keys_owner = f->registrars->owner(keys_key());
  const bool keeper = keys_owner != nullptr && *keys_owner == view_->self && view_->me().state == dht::member_state::active;
  store_.set_min_copies(f->config->min_copies);
  port_.facts_changed(std::move(f), keeper);
}

void cluster_life::set_names_in_dns(bool seen) {
  if (seen == names_in_dns_) return;
  names_in_dns_ = seen;
  publish_facts();
}

void cluster_life::on_self_removed(std::uint64_t new_life, duration joining_for) {
  port_.note(log::level::warning, fmt::format("this node was held for dead or replaced; it takes life {} and comes back{}", new_life,
                                         joining_for > duration{} ? " as joining, for it was removed too often" : ""));
  remember();
}

void cluster_life::on_stale(bool stale) {
  if (stale) port_.note(log::level::warning, "this node's view may be stale: it answers nothing firm until a peer confirms it");
  stale_ = stale;
  store_.sure_until(members_.sure_until());
  publish_facts();
}

void cluster_life::on_base(const dht::base& b) {
  base_ = std::make_shared<const dht::base>(b);
  store_.set_base(b);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < b.members.size() && i < 10; ++i) names.push_back(name_of(*members_.current(), b.members[i]));
  port_.note(log::level::info, fmt::format("base {}: {} members: {}{}", b.epoch, b.size(), fmt::join(names, ", "), b.size() > names.size() ? ", …" : ""));
  note_isolation();
  publish_facts();
  if (view_) port_.write_memory(); // now: who forgets that the cluster grew might begin without the others
}

// Alone, of three or more: this node cannot know what the others do now, so it steps out (consistency.md §7).
void cluster_life::note_isolation() {
  const bool alone = view_ && view_->me().serving() && members_.base_known().isolated();
  if (alone == isolated_) return;
  isolated_ = alone;
  isolated_now.set(alone ? 1 : 0);
  if (alone) port_.note(log::level::error, fmt::format("this node is isolated: it sees none of the other {} members, and answers 503 until it does", members_.base_known().counted() - 1));
  else port_.note(log::level::info, "no longer isolated");
}

void cluster_life::accept_base() {
  members_.accept_base(time_.now());
  port_.membership_changed();
  try_activate();
}

// ---- joining

bool cluster_life::may_begin_alone() const {
  const duration waited = time_.now() - started_;
  const dht::base_keeper& base = members_.base_known();
  if (!base.current()) return waited >= begin_alone_after && (config_.found || (config_.founder && !heard_of_a_cluster(*view_)));
  if (waited < begin_alone_after + rank(*view_, base.current()) * begin_in_turn) return false;
  // Of a base of three or more, more than half must be here again (consistency.md §4, §7).
  return base.current().contains(view_->self) && (base.counted() <= 2 || base.majority());
}

void cluster_life::try_activate() {
  if (leaving_ || !view_ || members_.state() != dht::member_state::joining || !store_.settled()) return;
  if (others_serve(*view_)) {
    if (!half_dead_.empty()) return;
    if (!members_.joined() || !bodies_known(*view_) || !shared_.loaded()) return;
  } else if (!may_begin_alone() || !bodies_known(*view_)) {
    return;
  }
  set_state(dht::member_state::active);
  // Damped, for it was removed too often (ring-and-membership B5): membership turns it active when its pause is over.
  if (members_.state() != dht::member_state::active) return;
  port_.note(log::level::info, fmt::format("active, after {} ms", std::chrono::duration_cast<milliseconds>(time_.now() - started_).count()));
  was_active_ = true;
  shared_.poll();
}

// Nobody serves: for whom it waits before it begins. Empty: it knows of nobody.
std::string cluster_life::waiting_for_base() const {
  const dht::base_keeper& base = members_.base_known();
  if (!base.current()) {
    const bool founds = config_.found || config_.founder;
    if (founds && heard_of_a_cluster(*view_) && !config_.found) return "a node of the cluster that it has heard of; if there is none any more: --found";
    if (!founds && alive_count(*view_) > 1) return "the founder, or a node that serves: nobody here may begin; if there is no cluster any more: --found, on one node";
    return founds ? "an answer of a seed, before it begins alone" : "";
  }
  if (!base.current().contains(view_->self)) return "a member of the cluster that it last knew";
  if (base.counted() <= 2 || base.majority()) return "its turn to begin";
  std::vector<std::string> missing;
  for (const node_id& id : base.current().members)
    if (const dht::member* m = view_->find(id); (m == nullptr || !m->alive()) && missing.size() < 10) missing.push_back(name_of(*view_, id));
  return fmt::format("{} of {} members, of which {} are here; missing: {}; if they are gone for good: skald base --accept",
                     base.counted() / 2 + 1, base.counted(), base.here(), fmt::join(missing, ", "));
}

std::string cluster_life::waiting_for() const {
  if (!view_ || members_.state() != dht::member_state::joining) return {};
  if (!others_serve(*view_)) {
    if (const std::string missing = waiting_for_base(); !missing.empty()) return missing;
    if (const std::string seeds = port_.seeds_asked(); !seeds.empty()) return "an answer of a seed: " + seeds;
    return "a node of the cluster: none is known; name one with --seed HOST:PORT";
  }
  if (!half_dead_.empty()) return "an end of its trouble: " + half_dead_;
  if (!bodies_known(*view_)) return "the records of all members";
  if (!store_.settled()) return "copies of its partitions";
  if (const duration left = members_.damped_for(time_.now()); left > duration{})
    return fmt::format("the end of a pause of {} s more, because it was removed too often", 1 + std::chrono::duration_cast<seconds>(left).count());
  const bool registrars = std::ranges::any_of(view_->members, [](const dht::member& m) { return m.alive() && m.body.roles.has(dht::role::registrar); });
  if (!registrars) return "a node with the role registrar: nobody can hold the cluster's keys and settings";
  return "the cluster's keys and settings";
}

void cluster_life::join_tick() {
  if (leaving_) return;
  // An active node goes on looking while it is alone: two founders' halves must find each other.
  const bool lonely = alive_count(*view_) < 2;
  bool waiting = members_.state() == dht::member_state::joining;
  // Nor is a joiner there that has only met other joiners.
  const bool lost = waiting && (!members_.joined() || !others_serve(*view_));
  if (waiting ? lost && join_ticks_ % 4 == 0 : lonely) port_.look_for_seeds(!waiting);
  if (lost || !members_.joined() || lonely)
    for (const node_id& peer : port_.mesh_peer_ids()) {
      if (!port_.address_known(peer)) port_.want_record(peer); // it showed its record once, in a datagram that may be lost
      members_.contact(peer, time_.now());
    }
  port_.membership_changed();
  try_activate();
  waiting = members_.state() == dht::member_state::joining;
  if (waiting && ++join_ticks_ % 20 == 0) port_.note(log::level::info, "waiting for " + waiting_for());
  timers_.at(time_.now() + (waiting ? join_retry : lonely ? seconds(5) : seconds(30)), [this] { join_tick(); });
}

// ---- stepping back

// What is wrong now; empty: nothing.
std::string cluster_life::trouble() const {
  if (!store_.disk_ok()) return "it cannot write its disk";
  std::size_t heard = 0, unreachable = 0;
  const dht::view_ptr v = view_; // a call may fail at once, and change it
  for (const dht::member& m : v->members) {
    if (m.id == v->self || !m.alive() || m.suspect || !port_.hears(m.id)) continue;
    ++heard;
    unreachable += port_.links_fail(m.id) ? 1 : 0;
  }
  if (unreachable < 2 || 2 * unreachable <= heard) return {};
  return fmt::format("it cannot open links to {} of {} members that it hears", unreachable, heard);
}

void cluster_life::judge_health() {
  if (!view_ || leaving_) return;
  const std::string why = trouble();
  const mono_time now = time_.now();
  if (why.empty()) {
    trouble_since_ = {};
    if (half_dead_.empty()) return;
    if (healthy_since_ == mono_time{}) healthy_since_ = now;
    if (now - healthy_since_ >= well_after) come_back();
    return;
  }
  healthy_since_ = {};
  if (trouble_since_ == mono_time{}) trouble_since_ = now;
  if (half_dead_.empty()) {
    // With nobody to take over, going on with what works is better than stepping back.
    if (now - trouble_since_ >= trouble_lasts && members_.state() == dht::member_state::active && another_is_active(*view_)) step_back(why);
    return;
  }
  const bool handed = store_.handed_over() || now - stepped_back_ > step_back_patience;
  if (handed && another_is_active(*view_)) wait_as_joining();
}

void cluster_life::step_back(const std::string& why) {
  half_dead_ = why;
  half_dead_now.set(1);
  stepped_back_ = time_.now();
  port_.note(log::level::error, "this node steps back: " + why);
  set_state(dht::member_state::draining);
  publish_facts();
}

// The second step: out of the rings.
void cluster_life::wait_as_joining() {
  if (members_.state() == dht::member_state::draining && !draining_) set_state(dht::member_state::joining);
}

void cluster_life::come_back() {
  port_.note(log::level::info, "disk and links work again: this node comes back");
  half_dead_.clear();
  half_dead_now.set(0);
  wait_as_joining();
  publish_facts();
  try_activate();
}

// ---- leaving

void cluster_life::drain() {
  if (draining_ || leaving_) return;
  draining_ = true;
  port_.note(log::level::info, "draining: nothing new is taken, what runs goes on");
  set_state(dht::member_state::draining);
  publish_facts();
}

void cluster_life::leave(std::move_only_function<void()> done) {
  if (leaving_) return done();
  leaving_ = true;
  left_ = std::move(done);
  port_.note(log::level::info, "leaving: handing over to the others");
  set_state(dht::member_state::draining);
  publish_facts();
  leave_tick(time_.now() + leave_deadline);
}

void cluster_life::leave_tick(mono_time until) {
  const bool alone = alive_count(*view_) < 2;
  if (!alone && !store_.handed_over() && time_.now() < until) {
    timers_.at(time_.now() + milliseconds(50), [this, until] { leave_tick(until); });
    return;
  }
  if (!alone && store_.handed_over()) store_.forget_place();
  else if (!alone) port_.note(log::level::warning, "left before everything was handed over: copies elsewhere must do");
  members_.leave(time_.now());
  port_.membership_changed();
  remember();
  // Gossip repeats itself for a while, so that a lost datagram does not hide that we left.
  timers_.at(time_.now() + (alone ? duration{} : milliseconds(600)), [this] { left_(); });
}

// ---- memory

void cluster_life::remember() {
  if (remember_set_ || !view_) return;
  remember_set_ = true;
  timers_.at(time_.now() + milliseconds(200), [this] {
    remember_set_ = false;
    port_.write_memory();
  });
}

} // namespace skald::node
