// process: what its life (node/cluster/cluster_life) asks of the machine, and what the checks are told of it.
#include "roles/core/dialog_record.hpp"
#include "sip/token/token.hpp"
#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_machine.hpp"

#include <algorithm>

namespace skald::sim {
namespace {
constexpr std::size_t page_rows = 500; // node/cluster/cluster_query's
constexpr duration steps_back_within = seconds(2);
} // namespace

void process::on_view(dht::view_ptr v) {
  if (!life_) return; // the first one is handed over when all is there
  if (body_.wire_highest < dht::wire_version_highest) { // it knows of no later one
    auto older = std::make_shared<dht::view>(*v);
    for (dht::member& m : older->members) m.body.wire_highest = std::min(m.body.wire_highest, body_.wire_highest);
    v = std::move(older);
  }
  life_->on_view(v);
  auto m = v->members.begin(); // both are in the order of ids
  std::erase_if(records_, [&](const auto& r) {
    while (m != v->members.end() && m->id < r.first) ++m;
    return (m == v->members.end() || m->id != r.first) && r.first != id();
  });
}

void process::on_self_removed(std::uint64_t new_life, duration joining_for) {
  damped_until_ = home_.time.now() + joining_for;
  outdo();
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

void process::note(log::level l, std::string_view text) {
  if (l != log::level::info || home_.tells(on_)) home_.time.note("{}: {}", on_.spec.name, text);
}

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
  const auto there = homes_.find(id);
  return there != homes_.end() && mesh_->has_session(there->second);
}

bool process::links_fail(const node_id& id) {
  links_->call_again(id);
  return links_->failing(id);
}

void process::watch_tick() {
  const bool well = life_->half_dead().empty();
  life_->judge_health();
  if (well && !life_->half_dead().empty()) ++home_.happened["stepped back"];
  look_at_disk();
  timers_.at(on_.now() + node::watch_period, [this] { watch_tick(); });
}

// §7: who cannot write its disk does not go on as if it could, unless nobody is there to take over.
void process::look_at_disk() {
  const bool others = std::ranges::any_of(view()->members, [this](const dht::member& m) { return m.id != id() && m.state == dht::member_state::active; });
  if (store_->disk_ok() || !serving() || !others) disk_failing_since_ = mono_time::max();
  else disk_failing_since_ = std::min(disk_failing_since_, on_.now());
  if (on_.now() > disk_failing_since_ && on_.now() - disk_failing_since_ > steps_back_within)
    home_.fail(3, fmt::format("{} serves, and cannot write its disk since {} ms", on_.spec.name, (on_.now() - disk_failing_since_).count() / 1000));
}

// node/runtime: until no call passes here any more, nor rings.
void process::drain() {
  turn([this] {
    life_->drain();
    drain_tick(0);
  });
}

void process::drain_tick(int quiet_looks) {
  timers_.at(on_.now() + node::drain_look, [this, quiet_looks] {
    if (life_->leaving()) return;
    const int quiet = calls_here() == 0 ? quiet_looks + 1 : 0;
    if (quiet < node::drain_quiet_looks) return drain_tick(quiet);
    ++home_.happened["drained"];
    leave();
  });
}

// Those that ring, and what all members know of dialogs; whoever cannot say may know of one.
std::size_t process::calls_here() const {
  if (!sip_) return 0;
  std::size_t n = sip_->stack().core().unanswered().size();
  const machine_id self = on_.spec.number;
  for (const dht::member& m : view()->members) {
    if (!m.alive()) continue;
    const machine_id there = m.id == id() ? self : address_of(m.id).value_or(*home_.machine_of(m.id));
    machine& asked = home_.at(there);
    if (!asked.running() || asked.paused() || !home_.net.open(self, there) || !home_.net.open(there, self)) {
      ++n;
      continue;
    }
    std::string cursor;
    do {
      for (const dht::record& r : asked.proc().whole_store().page(dht::table::dialogs, cursor, page_rows)) {
        const auto d = roles::decode_dialog(r.value);
        if (!d || d->ended != roles::dialog_end::no) continue;
        for (const std::string& text : {d->caller.token, d->callee.token})
          if (const auto edge = sip::open_token(text, *facts_->keys); edge && edge->node == id().head()) ++n;
      }
    } while (!cursor.empty());
  }
  return n;
}

void process::accept_base() {
  turn([this] { life_->accept_base(); });
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
    if (m.id != id() && m.alive() && !m.body.addresses.empty()) peers.push_back(*home_.machine_at(m.body.addresses.front()));
  if (!peers.empty()) remembered_peers_ = peers;
  on_.disk.memory = {membership_->life(), body_.version, base(), remembered_peers_};
}

} // namespace skald::sim
