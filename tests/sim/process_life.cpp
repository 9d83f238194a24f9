// process: what its life (node/cluster_life) asks of the machine, and what the checks are told of it.
#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_machine.hpp"

namespace skald::sim {

void process::on_view(dht::view_ptr v) {
  if (!life_) return; // the first one is handed over when all is there
  life_->on_view(v);
  std::erase_if(records_, [&](const auto& r) { return v->find(r.first) == nullptr && r.first != id(); });
}

void process::on_self_removed(std::uint64_t new_life, duration joining_for) {
  damped_until_ = home_.time.now() + joining_for;
  life_->on_self_removed(new_life, joining_for);
}

void process::on_stale(bool stale) { life_->on_stale(stale); }

void process::on_base(const dht::base& b) {
  if (life_) life_->on_base(b);
}

dht::ring_pair process::rings_for(const dht::view& v) {
  dht::ring_pair now = home_.rings_for(*this, v, rings_);
  home_.on_view(*this, life_->view(), v, life_->rings(), now);
  return now;
}

void process::facts_changed(roles::facts_ptr facts, bool keeper) {
  keeper_ = keeper && home_.may_keep(id());
  shared_->set_duty(keeper_);
  facts_ = std::move(facts);
  if (sip_) sip_->on_facts(facts_);
}

void process::note(log::level, std::string_view text) { home_.time.note("{}: {}", on_.spec.name, text); }

void process::look_for_seeds(bool) {
  for (const machine_id m : home_.seeds())
    if (m != on_.spec.number) mesh_->connect(m);
  for (const machine_id m : remembered_peers_)
    if (m != on_.spec.number) mesh_->connect(m);
}

std::vector<node_id> process::mesh_peer_ids() const {
  std::vector<node_id> out;
  for (const machine_id p : mesh_->peers()) out.push_back(home_.at(p).spec.id);
  return out;
}

bool process::hears(const node_id& id) const {
  const auto there = home_.machine_of(id);
  return there && mesh_->has_session(*there);
}

bool process::links_fail(const node_id& id) {
  links_->call_again(id);
  return links_->failing(id);
}

void process::watch_tick() {
  life_->judge_health();
  timers_.at(on_.now() + node::watch_period, [this] { watch_tick(); });
}

void process::leave() {
  turn([this] {
    if (life_->leaving()) return;
    life_->leave([this] {
      write_memory();
      home_.time.after(duration{0}, [this, alive = std::weak_ptr<int>(alive_)] {
        if (alive.expired()) return;
        home_.time.note("{} has left", on_.spec.name);
        on_.left = true;
        if (home_.left) home_.left(on_.spec.number);
        on_.stop();
      });
    });
  });
}

void process::write_memory() {
  if (on_.disk.full) return;
  std::vector<machine_id> peers;
  for (const dht::member& m : view()->members)
    if (m.id != id() && m.alive() && !m.body.addresses.empty()) peers.push_back(*home_.machine_of(m.id));
  if (!peers.empty()) remembered_peers_ = peers;
  on_.disk.memory = {membership_->life(), body_.version, base(), remembered_peers_};
}

} // namespace skald::sim
