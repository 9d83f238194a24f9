// process: joining, serving, leaving, and what is remembered. A mirror of node/cluster_life.cpp, to be kept like it.
#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_machine.hpp"

#include <algorithm>

namespace skald::sim {
namespace { // the numbers of node/cluster_unit.hpp

constexpr duration begin_alone_after = seconds(2), begin_in_turn = milliseconds(500), leave_deadline = seconds(15),
                   join_retry = milliseconds(500);

std::size_t alive_count(const dht::view& v) {
  return static_cast<std::size_t>(std::ranges::count_if(v.members, [](const dht::member& m) { return m.alive(); }));
}

bool others_serve(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && m.serving(); });
}

bool bodies_known(const dht::view& v) {
  return std::ranges::all_of(v.members, [](const dht::member& m) { return !m.alive() || m.body.version > 0; });
}

std::int64_t rank(const dht::view& v, const dht::base& b) {
  std::int64_t before = 0;
  for (const dht::member& m : v.members) before += m.alive() && m.id < v.self && b.contains(m.id) ? 1 : 0;
  return before;
}

bool heard_of_a_cluster(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && (!m.alive() || m.serving()); });
}

} // namespace

// ---- the view

void process::on_view(dht::view_ptr v) {
  if (!store_) return; // the first one is handed over when the store is there
  const dht::ring_pair before = pair_;
  pair_ = home_.rings_for(*this, *v, rings_);
  home_.on_view(*this, view_, *v, before, pair_);
  store_->set_view(v, pair_);
  view_ = std::move(v);
  note_isolation();
  for (auto it = records_.begin(); it != records_.end();)
    it = view_->find(it->first) != nullptr || it->first == id() ? std::next(it) : records_.erase(it);
  publish_facts();
  remember();
}

void process::publish_facts() {
  if (!view_ || !shared_) return;
  auto f = std::make_shared<roles::cluster_facts>();
  f->view = view_;
  f->registrars = pair_.serving;
  f->keys = shared_->keys();
  f->config = shared_->config();
  f->base = base_;
  f->isolated = isolated_;
  f->names_in_dns = names_in_dns_;
  f->serving = view_->me().serving() && shared_->loaded() && !stale_ && !leaving_ && !isolated_;
  const node_id* keys_owner = f->registrars->owner(node::keys_key());
  const bool duty = keys_owner != nullptr && *keys_owner == view_->self && view_->me().state == dht::member_state::active;
  keeper_ = duty && home_.may_keep(id());
  shared_->set_duty(keeper_);
  store_->set_min_copies(f->config->min_copies);
  facts_ = std::move(f);
  if (sip_) sip_->on_facts(facts_);
}

void process::on_self_removed(std::uint64_t new_life, duration joining_for) {
  home_.time.note("{} was held for dead; life {}{}", on_.spec.name, new_life, joining_for > duration{} ? ", joining for a while" : "");
  damped_until_ = home_.time.now() + joining_for;
  remember();
}

void process::on_stale(bool stale) {
  stale_ = stale;
  if (store_) store_->sure_until(membership_->sure_until());
  publish_facts();
}

void process::on_base(const dht::base& b) {
  base_ = std::make_shared<const dht::base>(b);
  if (store_) store_->set_base(b);
  home_.time.note("{} has base {} of {}", on_.spec.name, b.epoch, b.size());
  note_isolation();
  publish_facts();
  if (view_) write_memory(); // now: who forgets that the cluster grew might begin without the others
}

void process::note_isolation() {
  const bool alone = view_ && view_->me().serving() && membership_->base_known().isolated();
  if (alone == isolated_) return;
  isolated_ = alone;
  home_.time.note("{} is {}", on_.spec.name, alone ? "isolated" : "no longer isolated");
}

// ---- joining

bool process::may_begin_alone() const {
  const duration waited = on_.now() - started_;
  const dht::base_keeper& base = membership_->base_known();
  if (!base.current()) return waited >= begin_alone_after && (found_ || (home_.founder(on_.spec.number) && !heard_of_a_cluster(*view_)));
  if (waited < begin_alone_after + rank(*view_, base.current()) * begin_in_turn) return false;
  return base.current().contains(view_->self) && (base.counted() <= 2 || base.majority());
}

void process::try_activate() {
  if (leaving_ || !view_ || membership_->state() != dht::member_state::joining || !store_->settled()) return;
  if (others_serve(*view_)) {
    if (!membership_->joined() || !bodies_known(*view_) || !shared_->loaded()) return;
  } else if (!may_begin_alone() || !bodies_known(*view_)) {
    return;
  }
  membership_->set_state(dht::member_state::active, on_.now());
  arm_membership();
  if (membership_->state() != dht::member_state::active) return;
  home_.time.note("{} is active", on_.spec.name);
  shared_->poll();
}

void process::join_tick() {
  if (leaving_) return;
  const bool lonely = alive_count(*view_) < 2;
  bool waiting = membership_->state() == dht::member_state::joining;
  const bool lost = waiting && (!membership_->joined() || !others_serve(*view_));
  if (waiting ? lost && join_ticks_ % 4 == 0 : lonely) look_for_seeds();
  if (lost || !membership_->joined() || lonely)
    for (const machine_id p : mesh_->peers()) {
      const node_id peer = home_.at(p).spec.id;
      if (!addresses_.contains(peer)) on_body_wanted(peer, 0); // it showed its record once, and that may be lost
      membership_->contact(peer, on_.now());
    }
  arm_membership();
  try_activate();
  waiting = membership_->state() == dht::member_state::joining;
  if (waiting) ++join_ticks_;
  timers_.at(on_.now() + (waiting ? join_retry : lonely ? seconds(5) : seconds(30)), [this] { join_tick(); });
}

void process::look_for_seeds() {
  for (const machine_id m : home_.seeds())
    if (m != on_.spec.number) mesh_->connect(m);
  for (const machine_id m : remembered_peers_)
    if (m != on_.spec.number) mesh_->connect(m);
}

// ---- leaving

void process::leave() {
  turn([this] {
    if (leaving_) return;
    leaving_ = true;
    home_.time.note("{} leaves", on_.spec.name);
    membership_->set_state(dht::member_state::draining, on_.now());
    arm_membership();
    publish_facts();
    leave_tick(on_.now() + leave_deadline);
  });
}

void process::leave_tick(mono_time until) {
  const bool alone = alive_count(*view_) < 2;
  if (!alone && !store_->handed_over() && on_.now() < until) {
    timers_.at(on_.now() + milliseconds(50), [this, until] { leave_tick(until); });
    return;
  }
  if (!alone && !store_->handed_over()) home_.time.note("{} left before everything was handed over", on_.spec.name);
  membership_->leave(on_.now());
  arm_membership();
  remember();
  timers_.at(on_.now() + (alone ? duration{} : milliseconds(600)), [this] {
    write_memory();
    home_.time.after(duration{0}, [this, alive = std::weak_ptr<int>(alive_)] {
      if (alive.expired()) return;
      home_.time.note("{} has left", on_.spec.name);
      on_.left = true;
      if (home_.left) home_.left(on_.spec.number);
      on_.stop();
    });
  });
}

// ---- memory

void process::remember() {
  if (remember_set_ || !view_) return;
  remember_set_ = true;
  timers_.at(on_.now() + milliseconds(200), [this] {
    remember_set_ = false;
    write_memory();
  });
}

void process::write_memory() {
  if (on_.disk.full) return;
  std::vector<machine_id> peers;
  for (const dht::member& m : view_->members)
    if (m.id != view_->self && m.alive() && !m.body.addresses.empty()) peers.push_back(*home_.machine_of(m.id));
  if (!peers.empty()) remembered_peers_ = peers;
  on_.disk.memory = {membership_->life(), body_.version, *base_, remembered_peers_};
}

} // namespace skald::sim
