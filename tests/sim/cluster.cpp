#include "tests/sim/cluster.hpp"

#include "base/crypto.hpp"
#include "dht/store/placement.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_world.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace skald::sim {
namespace {

constexpr std::size_t seeds_max = 3;
constexpr std::size_t last_rings_max = 32, ring_cache_swept_from = 4096;
constexpr std::uint64_t warm_life = 1'700'000'001'000;

int nodes_of(const options& o) {
  if (o.nodes > 0) return o.nodes;
  if (o.sip) return 3 + static_cast<int>(seeded_rng(o.seed ^ 0x6e6f646573).below(3)); // fewer have no other edge
  constexpr std::array<int, 12> sizes{1, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7};
  seeded_rng r(o.seed ^ 0x6e6f646573);
  return sizes[r.below(sizes.size())];
}

std::uint64_t digest_of(const std::vector<dht::ring_member>& members) {
  std::uint64_t h = members.size();
  const auto mix = [&h](std::uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 31;
  };
  for (const auto& m : members) {
    mix(m.id.head());
    mix(m.capacity);
    for (const char c : m.zone) mix(static_cast<std::uint8_t>(c));
  }
  return h;
}

} // namespace

cluster::cluster(const options& o) : opts(o), time(o.seed) {
  time.echo = o.trace;
  time.deep = o.deep;
  constexpr std::array<int, 4> zone_counts{1, 1, 2, 3};
  zones_ = zone_counts[time.random.below(zone_counts.size())];
  if (o.nodes <= large_cluster && time.random.chance(0.2)) {
    timing_ = dht::wan_profile();
    net.set_quality({.delay_min = milliseconds(10), .delay_max = milliseconds(60)});
  }
  const int n = nodes_of(o);
  for (int i = 0; i < n; ++i) add_machine();
  first_machines_ = n;
  time.note("seed {}: {} machines in {} zones, profile {}", o.seed, n, zones_, timing_.heartbeat == dht::wan_profile().heartbeat ? "wan" : "lan");
}

cluster::~cluster() {
  stored = {};
  left = {};
  crashed = {};
  for (auto& m : machines_)
    if (m->running()) m->crash(crash_kind::killed);
}

machine& cluster::add_machine() {
  machine_spec s;
  s.number = size();
  s.id = *node_id::from_bytes(crypto::sha1(fmt::format("seed {} node {}", opts.seed, s.number)));
  s.name = fmt::format("n{}", s.number);
  if (zones_ > 1) s.zone = fmt::format("zone{}", s.number % zones_);
  s.bundle = s.name;
  if (time.random.chance(0.2)) s.capacity = 50 + static_cast<std::uint32_t>(time.random.below(200));
  return add(std::move(s));
}

machine& cluster::add_twin(const machine& of) {
  machine_spec s = of.spec;
  s.number = size();
  s.name += fmt::format("-twin{}", s.number);
  return add(std::move(s));
}

machine& cluster::add(machine_spec s) {
  s.ip = *ip_address::parse(fmt::format("10.{}.{}.{}", s.number / 65536, s.number / 256 % 256, s.number % 256));
  numbers_.try_emplace(s.id, s.number);
  addresses_[s.ip.text()] = s.number;
  machines_.push_back(std::make_unique<machine>(*this, std::move(s)));
  return *machines_.back();
}

void cluster::end_for_good(machine_id m) {
  at(m).left = at(m).retired = true;
  if (left) left(m);
  if (at(m).running()) at(m).stop();
  for (const auto& other : machines_)
    if (other->spec.id == at(m).spec.id && !other->retired) numbers_[other->spec.id] = other->spec.number;
}

std::optional<machine_id> cluster::machine_at(const ip_address& ip) const {
  const auto found = addresses_.find(ip.text());
  if (found == addresses_.end()) return std::nullopt;
  return found->second;
}

std::optional<machine_id> cluster::machine_of(const node_id& id) const {
  const auto at = numbers_.find(id);
  if (at == numbers_.end()) return std::nullopt;
  return at->second;
}

std::vector<machine_id> cluster::seeds() const {
  std::vector<machine_id> out;
  for (machine_id m = 0; m < size() && out.size() < seeds_max; ++m)
    if (!machines_[static_cast<std::size_t>(m)]->left) out.push_back(m);
  return out;
}

std::vector<machine*> cluster::running() const {
  std::vector<machine*> out;
  for (const auto& m : machines_)
    if (m->running()) out.push_back(m.get());
  return out;
}

std::vector<machine*> cluster::serving() const {
  auto out = running();
  std::erase_if(out, [](const machine* m) { return m->paused() || !m->proc().serving(); });
  return out;
}

void cluster::start_warm() {
  warm_facts_.clear();
  for (const auto& m : machines_) warm_facts_.push_back({m->spec.id, {warm_life, 0}, dht::member_state::active, 1});
  for (const auto& m : machines_) m->start(true);
}

const std::string& cluster::warm_lists(process& p, const dht::view_ptr& v) {
  if (!warm_lists_.empty()) return warm_lists_;
  dht::rings own;
  dht::partition_set all;
  all.set_all();
  dht::placement where(p.id());
  where.set(v, rings_for(p, *v, own), 0);
  where.unlist(all);
  return warm_lists_ = where.save();
}

dht::base cluster::warm_base() const {
  dht::base b{1, {}};
  for (const auto& f : warm_facts_) b.members.push_back(f.id);
  std::ranges::sort(b.members);
  return b;
}

bool cluster::may_keep(const node_id& id) {
  if (opts.bug != plant::lost_duty) return true;
  if (!first_keeper_) first_keeper_ = id;
  return *first_keeper_ == id;
}

// ---- rings

dht::ring_pair cluster::rings_for(process& p, const dht::view& v, dht::rings& own) {
  if (opts.bug == plant::other_ring && p.on().spec.number == 1 && v.members.size() > 2) {
    dht::view other = v;
    for (auto& m : other.members)
      if (m.id != v.self) {
        m.body.capacity *= 2;
        break;
      }
    own.update(other);
    return own.of(dht::role::registrar);
  }
  if (!large()) {
    own.update(v);
    return own.of(dht::role::registrar);
  }
  const dht::ring_pair had = p.rings();
  return {cached_ring(dht::serving_members(v, dht::role::registrar), had.serving.get()),
          cached_ring(dht::target_members(v, dht::role::registrar), had.target.get())};
}

dht::ring_ptr cluster::cached_ring(std::vector<dht::ring_member> members, const dht::ring* own) {
  const std::uint64_t digest = digest_of(members);
  if (const auto at = ring_cache_.find(digest); at != ring_cache_.end())
    if (auto there = at->second.lock()) return there;
  // From the node's own, or from the nearest to it: one that has just started sees itself alone.
  const dht::ring* former = own;
  const auto distance = [&](const dht::ring& r) { return std::abs(static_cast<std::ptrdiff_t>(r.members().size()) - static_cast<std::ptrdiff_t>(members.size())); };
  if (own == nullptr || distance(*own) > static_cast<std::ptrdiff_t>(members.size() / 8))
    for (const auto& r : last_rings_)
      if (former == nullptr || distance(*r) <= distance(*former)) former = r.get();
  auto made = dht::ring::build(std::move(members), former);
  if (last_rings_.size() >= last_rings_max) last_rings_.pop_front();
  last_rings_.push_back(made);
  if (ring_cache_.size() >= ring_cache_swept_from) std::erase_if(ring_cache_, [](const auto& r) { return r.second.expired(); });
  ring_cache_[digest] = made;
  return made;
}

// ---- what processes tell

void cluster::on_view(process& p, const dht::view_ptr& old, const dht::view& now, const dht::ring_pair& before,
                      const dht::ring_pair& after) {
  if (old && tells(p.on()))
    for (const dht::member& m : now.members) {
      const dht::member* was = old->find(m.id);
      const bool was_alive = was != nullptr && was->alive();
      if (was_alive == m.alive() && (was == nullptr || was->state == m.state)) continue;
      if (m.id == p.id()) continue;
      if (m.alive() && p.knows_revoked(m.id)) return fail(3, fmt::format("{} takes {} for a member, and knows that it is revoked", p.on().spec.name, at(*machine_of(m.id)).spec.name));
      time.note("{} sees {} {}", p.on().spec.name, at(*machine_of(m.id)).spec.name, dht::to_string(m.state));
    }
  if (before.serving && before.serving != after.serving) check_takeover(p, before, after);
}

// Invariant 9: where one node went, its heir was in the list; where one came, only it can be a new owner.
void cluster::check_takeover(process& p, const dht::ring_pair& before, const dht::ring_pair& after) {
  const auto was = before.serving->members(), is = after.serving->members();
  if (was.empty() || is.empty() || large()) return;
  std::size_t gone = 0, came = 0;
  for (const auto& m : was) gone += std::ranges::find(is, m.id, &dht::ring_member::id) == is.end();
  for (const auto& m : is) came += std::ranges::find(was, m.id, &dht::ring_member::id) == was.end();
  if (gone + came != 1) return;
  for (std::uint32_t i = 0; i < partition_count; ++i) {
    const partition part{static_cast<std::uint16_t>(i)};
    const dht::ring::list old_list = before.serving->at(part), new_list = after.serving->at(part);
    const node_id& owner = *new_list.nodes[0];
    const bool newcomer = came == 1 && std::ranges::find(was, owner, &dht::ring_member::id) == was.end();
    if (!newcomer && !old_list.has(owner))
      return fail(9, fmt::format("at {} the partition {} goes to {}, which held nothing of it", p.on().spec.name, i, at(*machine_of(owner)).spec.name));
  }
}

void cluster::on_stored(process& p, const dht::record& r) {
  if (stored) stored(p.on().spec.number, r);
  time.mix(r.version.hlc);
  if (time.deep)
    time.note("{} stores {} {} {}={} @{}.{}+{:x}, expires {}, its time {}", p.on().spec.name, static_cast<int>(r.table), r.key.hex().substr(0, 6), r.item,
              r.removed ? "removed" : r.value.substr(0, 14), r.version.time() % 10'000'000, r.version.hlc & 0xffff, r.version.writer >> 48,
              r.expires % 10'000'000, p.cluster_time() % 10'000'000);
}

void cluster::fail(int invariant, std::string what) {
  if (failure_) return;
  time.note("VIOLATION of invariant {}: {}", invariant, what);
  failure_ = violation{invariant, std::move(what)};
  time.stop();
}

} // namespace skald::sim
