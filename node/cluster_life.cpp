// cluster_unit: joining, serving, leaving, and what is remembered for the next start.
#include "base/log.hpp"
#include "node/cluster_unit.hpp"
#include "node/state_dir.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {
namespace {

std::size_t alive_count(const dht::view& v) {
  return static_cast<std::size_t>(std::ranges::count_if(v.members, [](const dht::member& m) { return m.alive(); }));
}

bool others_serve(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && m.serving(); });
}

bool bodies_known(const dht::view& v) {
  return std::ranges::all_of(v.members, [](const dht::member& m) { return !m.alive() || m.body.version > 0; });
}

// This node's place among the living, by id: where nobody serves any more they begin in turn, not all at once.
std::int64_t rank(const dht::view& v) {
  std::int64_t before = 0;
  for (const dht::member& m : v.members) before += m.alive() && m.id < v.self ? 1 : 0;
  return before;
}

} // namespace

// ---- the view

void cluster_unit::on_view(dht::view_ptr v) {
  if (!store_) return; // the first one is handed over when the store is there
  rings_.update(*v);
  store_->set_view(v, rings_.of(dht::role::registrar));
  view_ = std::move(v);
  for (auto it = records_.begin(); it != records_.end();) // records of the forgotten go
    it = view_->find(it->first) != nullptr || it->first == config_.bundle->id ? std::next(it) : records_.erase(it);
  std::erase_if(versions_, [&](const auto& v) { return view_->find(v.first) == nullptr; });
  publish_facts();
  remember();
}

void cluster_unit::publish_facts() {
  if (!view_ || !shared_) return;
  auto f = std::make_shared<roles::cluster_facts>();
  f->view = view_;
  f->registrars = rings_.of(dht::role::registrar).serving;
  f->keys = shared_->keys();
  f->config = shared_->config();
  f->serving = view_->me().serving() && shared_->loaded() && !stale_ && !leaving_;
  f->names_in_dns = names_in_dns_;
  const node_id* keys_owner = f->registrars->owner(keys_key());
  shared_->set_duty(keys_owner != nullptr && *keys_owner == view_->self && view_->me().state == dht::member_state::active);
  store_->set_min_copies(f->config->min_copies);
  if (shared_->loaded()) set_profile(f->config->profile);
  facts_.store(std::move(f));
  changed_();
}

void cluster_unit::set_profile(const std::string& name) {
  if (name == profile_) return;
  profile_ = name;
  membership_->set_timing(name == "wan" ? dht::wan_profile() : dht::lan_profile(), clock_.now());
  log::info("membership", "the profile is " + name);
  remember();
}

void cluster_unit::set_names_in_dns(bool seen) {
  if (seen == names_in_dns_) return;
  names_in_dns_ = seen;
  publish_facts();
}

void cluster_unit::on_self_removed(std::uint64_t new_life, duration joining_for) {
  log::warning("membership", fmt::format("this node was held for dead; it takes life {} and comes back{}", new_life,
                                         joining_for > duration{} ? " as joining, for it was removed too often" : ""));
  remember();
}

void cluster_unit::on_stale(bool stale) {
  if (stale) log::warning("membership", "this node's view may be stale: it answers nothing firm until a peer confirms it");
  stale_ = stale;
  publish_facts();
}

// ---- joining

bool cluster_unit::may_begin_alone() const {
  const duration waited = events_.now() - started_;
  if (remembered_members_ == 0) return waited >= begin_alone_after && (config_.bundle->founder || config_.node.found);
  if (waited < begin_alone_after + rank(*view_) * begin_in_turn) return false;
  // What was last seen decides: of a cluster of three or more, more than half must be here again (consistency.md §4).
  return remembered_members_ <= 2 || 2 * alive_count(*view_) > remembered_members_;
}

void cluster_unit::try_activate() {
  if (leaving_ || !view_ || membership_->state() != dht::member_state::joining || !store_->settled()) return;
  if (others_serve(*view_)) {
    if (!membership_->joined() || !bodies_known(*view_) || !shared_->loaded()) return;
  } else if (!may_begin_alone() || !bodies_known(*view_)) {
    return;
  }
  membership_->set_state(dht::member_state::active, clock_.now());
  arm_membership();
  // Damped, for it was removed too often (ring-and-membership B5): membership turns it active when its pause is over.
  if (membership_->state() != dht::member_state::active) return;
  log::info("membership", fmt::format("active, after {} ms", std::chrono::duration_cast<milliseconds>(events_.now() - started_).count()));
  shared_->poll();
}

std::string cluster_unit::waiting_for() const {
  if (!view_ || membership_->state() != dht::member_state::joining) return {};
  if (!others_serve(*view_)) {
    if (remembered_members_ == 0 && (config_.bundle->founder || config_.node.found)) return "an answer of a seed, before it begins alone";
    if (seeds_ && !seeds_->seeds().empty()) return fmt::format("an answer of a seed: {}", fmt::join(seeds_->seeds(), ", "));
    return "a node of the cluster: none is known; name one with --seed HOST:PORT";
  }
  if (!bodies_known(*view_)) return "the records of all members";
  if (!store_->settled()) return "copies of its partitions";
  return "the cluster's keys and settings";
}

void cluster_unit::join_tick() {
  if (leaving_) return;
  // An active node goes on looking while it is alone: two founders' halves must find each other.
  const bool lonely = alive_count(*view_) < 2;
  bool waiting = membership_->state() == dht::member_state::joining;
  if (waiting ? !membership_->joined() && join_ticks_ % 4 == 0 : lonely) look_for_seeds(!waiting);
  if (!membership_->joined() || lonely)
    for (const dht::mesh_peer& p : mesh_->peers()) membership_->contact(p.id, clock_.now());
  try_activate();
  waiting = membership_->state() == dht::member_state::joining;
  if (waiting && ++join_ticks_ % 20 == 0) log::info("membership", "waiting for " + waiting_for());
  events_.timers().at(events_.now() + (waiting ? join_retry : lonely ? seconds(5) : seconds(30)), [this] { join_tick(); });
}

void cluster_unit::look_for_seeds(bool again) {
  if (!seeds_ || again) { // again: what is remembered is newer than at the start
    std::vector<std::string> seeds = config_.node.seeds;
    if (seeds.empty()) seeds = config_.bundle->seeds;
    seeds_ = std::make_unique<seed_finder>(dns_, std::move(seeds), remembered_peers_, config_.bundle->domain);
  }
  seeds_->look([this](const endpoint& e) {
    const bool self = e.port == config_.node.overlay_port && std::ranges::find(config_.addresses, e.ip) != config_.addresses.end();
    if (!self) mesh_->connect(e);
  });
}

// ---- leaving

void cluster_unit::leave(std::move_only_function<void()> done) {
  if (leaving_) return done();
  leaving_ = true;
  left_ = std::move(done);
  log::info("membership", "leaving: handing over to the others");
  membership_->set_state(dht::member_state::draining, clock_.now());
  arm_membership();
  publish_facts();
  leave_tick(events_.now() + leave_deadline);
}

void cluster_unit::leave_tick(mono_time until) {
  const bool alone = alive_count(*view_) < 2;
  if (!alone && !store_->handed_over() && events_.now() < until) {
    events_.timers().at(events_.now() + milliseconds(50), [this, until] { leave_tick(until); });
    return;
  }
  if (!alone && !store_->handed_over()) log::warning("membership", "left before everything was handed over: copies elsewhere must do");
  membership_->leave(clock_.now());
  arm_membership();
  remember();
  // Gossip repeats itself for a while, so that a lost datagram does not hide that we left.
  events_.timers().at(events_.now() + (alone ? duration{} : milliseconds(600)), [this] { left_(); });
}

void cluster_unit::stop() {
  if (view_) write_memory(); // now: no timer runs any more
  directory_.reset();
}

// ---- memory

void cluster_unit::remember() {
  if (remember_set_ || !view_) return;
  remember_set_ = true;
  events_.timers().at(events_.now() + milliseconds(200), [this] {
    remember_set_ = false;
    write_memory();
  });
}

void cluster_unit::write_memory() {
  nlohmann::json peers = nlohmann::json::array();
  for (const dht::member& m : view_->members)
    if (m.id != view_->self && m.alive() && !m.body.addresses.empty() && peers.size() < seeds_max)
      peers.push_back(endpoint{m.body.addresses.front(), m.body.overlay_port}.text());
  // A view in which this node only waits says nothing about the cluster: the last real one stays.
  if (view_->me().serving()) remembered_members_ = alive_count(*view_);
  if (!peers.empty()) {
    remembered_peers_.clear();
    for (const auto& p : peers) remembered_peers_.push_back(*endpoint::parse(p.get<std::string>()));
  }
  nlohmann::json kept = nlohmann::json::array();
  for (const endpoint& e : remembered_peers_) kept.push_back(e.text());
  const nlohmann::json out{{"life", membership_->life()}, {"version", config_.body.version}, {"members", remembered_members_}, {"peers", kept}, {"profile", profile_}};
  if (const auto written = write_file(config_.state_dir + "/cluster.json", out.dump()); !written) log::error("state", written.error().what);
}

} // namespace skald::node
