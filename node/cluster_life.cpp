// cluster_unit: joining, serving, leaving, and what is remembered for the next start.
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "node/cluster_unit.hpp"
#include "node/state_dir.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {
namespace {

metrics::gauge isolated_now("skald_cluster_isolated", "1 while this node sees no other member of a base of three or more");

std::size_t alive_count(const dht::view& v) {
  return static_cast<std::size_t>(std::ranges::count_if(v.members, [](const dht::member& m) { return m.alive(); }));
}

bool others_serve(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && m.serving(); });
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

// ---- the view

void cluster_unit::on_view(dht::view_ptr v) {
  if (!store_) return; // the first one is handed over when the store is there
  rings_.update(*v);
  store_->set_view(v, rings_.of(dht::role::registrar));
  drop_links_of_dead(*v);
  view_ = std::move(v);
  note_isolation();
  for (auto it = records_.begin(); it != records_.end();) // records of the forgotten go
    it = view_->find(it->first) != nullptr || it->first == config_.bundle->id ? std::next(it) : records_.erase(it);
  std::erase_if(versions_, [&](const auto& v) { return view_->find(v.first) == nullptr; });
  publish_facts();
  remember();
}

// Once the node is back, what was sent meanwhile would wait for TCP's next try, seconds later; a new link does not. Not
// at once: the store is told of it, and this may be its turn.
void cluster_unit::drop_links_of_dead(const dht::view& now) {
  for (const dht::member& m : now.members) {
    const dht::member* before = view_ ? view_->find(m.id) : nullptr;
    if (m.alive() || before == nullptr || !before->alive()) continue;
    events_.post([this, id = m.id] {
      const dht::member* m = view_->find(id);
      if (links_ != nullptr && (m == nullptr || !m->alive())) links_->disconnect(id);
    });
  }
}

void cluster_unit::publish_facts() {
  if (!view_ || !shared_) return;
  auto f = std::make_shared<roles::cluster_facts>();
  f->view = view_;
  f->registrars = rings_.of(dht::role::registrar).serving;
  f->keys = shared_->keys();
  f->config = shared_->config();
  f->base = base_;
  f->isolated = isolated_;
  f->serving = view_->me().serving() && shared_->loaded() && !stale_ && !leaving_ && !isolated_ && !draining_ && half_dead_.empty();
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
  log::warning("membership", fmt::format("this node was held for dead or replaced; it takes life {} and comes back{}", new_life,
                                         joining_for > duration{} ? " as joining, for it was removed too often" : ""));
  if (foreign_version_ >= config_.body.version) renew_body(foreign_version_); // ours must be the newest record of this id
  remember();
}

void cluster_unit::on_stale(bool stale) {
  if (stale) log::warning("membership", "this node's view may be stale: it answers nothing firm until a peer confirms it");
  stale_ = stale;
  if (store_) store_->sure_until(membership_->sure_until());
  publish_facts();
}

void cluster_unit::on_base(const dht::base& b) {
  base_ = std::make_shared<const dht::base>(b);
  if (store_) store_->set_base(b);
  if (log::enabled(log::level::info)) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < b.members.size() && i < 10; ++i) names.push_back(name_of(*membership_->current(), b.members[i]));
    log::info("membership", fmt::format("base {}: {} members: {}{}", b.epoch, b.size(), fmt::join(names, ", "), b.size() > names.size() ? ", …" : ""));
  }
  note_isolation();
  publish_facts();
  if (view_) write_memory(); // now: who forgets that the cluster grew might begin without the others
}

// Alone, of three or more: this node cannot know what the others do now, so it steps out (consistency.md §7).
void cluster_unit::note_isolation() {
  const bool alone = view_ && view_->me().serving() && membership_->base_known().isolated();
  if (alone == isolated_) return;
  isolated_ = alone;
  isolated_now.set(alone ? 1 : 0);
  if (alone) log::error("membership", fmt::format("this node is isolated: it sees none of the other {} members, and answers 503 until it does", membership_->base_known().counted() - 1));
  else log::info("membership", "no longer isolated");
}

void cluster_unit::accept_base() {
  membership_->accept_base(clock_.now());
  arm_membership();
  try_activate();
}

// ---- joining

bool cluster_unit::may_begin_alone() const {
  const duration waited = events_.now() - started_;
  const dht::base_keeper& base = membership_->base_known();
  if (!base.current()) return waited >= begin_alone_after && (config_.node.found || (config_.bundle->founder && !heard_of_a_cluster(*view_)));
  if (waited < begin_alone_after + rank(*view_, base.current()) * begin_in_turn) return false;
  // Of a base of three or more, more than half must be here again (consistency.md §4, §7).
  return base.current().contains(view_->self) && (base.counted() <= 2 || base.majority());
}

void cluster_unit::try_activate() {
  if (leaving_ || !view_ || membership_->state() != dht::member_state::joining || !store_->settled()) return;
  if (others_serve(*view_)) {
    if (!half_dead_.empty()) return;
    if (!membership_->joined() || !bodies_known(*view_) || !shared_->loaded()) return;
  } else if (!may_begin_alone() || !bodies_known(*view_)) {
    return;
  }
  membership_->set_state(dht::member_state::active, clock_.now());
  arm_membership();
  // Damped, for it was removed too often (ring-and-membership B5): membership turns it active when its pause is over.
  if (membership_->state() != dht::member_state::active) return;
  log::info("membership", fmt::format("active, after {} ms", std::chrono::duration_cast<milliseconds>(events_.now() - started_).count()));
  was_active_ = true;
  shared_->poll();
}

// Nobody serves: for whom it waits before it begins. Empty: it knows of nobody.
std::string cluster_unit::waiting_for_base() const {
  const dht::base_keeper& base = membership_->base_known();
  if (!base.current()) {
    const bool founds = config_.node.found || config_.bundle->founder;
    if (founds && heard_of_a_cluster(*view_) && !config_.node.found) return "a node of the cluster that it has heard of; if there is none any more: --found";
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

std::string cluster_unit::waiting_for() const {
  if (!view_ || membership_->state() != dht::member_state::joining) return {};
  if (!others_serve(*view_)) {
    if (const std::string missing = waiting_for_base(); !missing.empty()) return missing;
    if (seeds_ && !seeds_->seeds().empty()) return fmt::format("an answer of a seed: {}", fmt::join(seeds_->seeds(), ", "));
    return "a node of the cluster: none is known; name one with --seed HOST:PORT";
  }
  if (!half_dead_.empty()) return "an end of its trouble: " + half_dead_;
  if (!bodies_known(*view_)) return "the records of all members";
  if (!store_->settled()) return "copies of its partitions";
  if (const duration left = membership_->damped_for(clock_.now()); left > duration{})
    return fmt::format("the end of a pause of {} s more, because it was removed too often", 1 + std::chrono::duration_cast<seconds>(left).count());
  const bool registrars = std::ranges::any_of(view_->members, [](const dht::member& m) { return m.alive() && m.body.roles.has(dht::role::registrar); });
  if (!registrars) return "a node with the role registrar: nobody can hold the cluster's keys and settings";
  return "the cluster's keys and settings";
}

void cluster_unit::join_tick() {
  if (leaving_) return;
  // An active node goes on looking while it is alone: two founders' halves must find each other.
  const bool lonely = alive_count(*view_) < 2;
  bool waiting = membership_->state() == dht::member_state::joining;
  // Nor is a joiner there that has only met other joiners.
  const bool lost = waiting && (!membership_->joined() || !others_serve(*view_));
  if (waiting ? lost && join_ticks_ % 4 == 0 : lonely) look_for_seeds(!waiting);
  if (lost || !membership_->joined() || lonely)
    for (const dht::mesh_peer& p : mesh_->peers()) {
      if (!link_address(p.id)) on_body_wanted(p.id, 0); // it showed its record once, in a datagram that may be lost
      membership_->contact(p.id, clock_.now());
    }
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

void cluster_unit::drain() {
  if (draining_ || leaving_) return;
  draining_ = true;
  log::info("membership", "draining: nothing new is taken, what runs goes on");
  membership_->set_state(dht::member_state::draining, clock_.now());
  arm_membership();
  publish_facts();
}

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
  if (!peers.empty()) {
    remembered_peers_.clear();
    for (const auto& p : peers) remembered_peers_.push_back(*endpoint::parse(p.get<std::string>()));
  }
  nlohmann::json kept = nlohmann::json::array();
  for (const endpoint& e : remembered_peers_) kept.push_back(e.text());
  nlohmann::json based = nlohmann::json::array();
  for (const node_id& id : base_->members) based.push_back(id.hex());
  const nlohmann::json out{{"life", membership_->life()}, {"version", config_.body.version}, {"base", {{"epoch", base_->epoch}, {"members", based}}}, {"peers", kept}, {"profile", profile_}};
  if (const auto written = write_file(config_.state_dir + "/cluster.json", out.dump()); !written) log::error("state", written.error().what);
}

} // namespace skald::node
