#include "tests/unit/store/cluster.hpp"

#include "base/crypto.hpp"

#include <algorithm>

namespace skald::dht::test {

outcome<void> fake_disk::commit(std::span<const record> batch) {
  if (failing) return std::unexpected(failure{"disk full"});
  ++commits;
  for (const auto& r : batch) {
    rows.insert_or_assign(std::tuple(r.table, r.key, r.item), r);
    if (r.item != floor_item) continue;
    std::erase_if(rows, [&](const auto& row) {
      return row.second.table == r.table && row.second.key == r.key && row.second.version < r.version;
    });
  }
  return {};
}
outcome<void> fake_disk::load(const std::function<void(record&&)>& row) {
  for (auto& [id, r] : rows) row(record(r));
  return {};
}
outcome<void> fake_disk::erase(partition first, partition last) {
  if (failing) return std::unexpected(failure{"disk full"});
  std::erase_if(rows, [&](const auto& row) {
    const auto p = partition_of(std::get<1>(row.first));
    return first <= p && p <= last;
  });
  return {};
}
outcome<void> fake_disk::save(std::string_view content) {
  if (failing) return std::unexpected(failure{"disk full"});
  memory = content;
  return {};
}
outcome<void> fake_disk::append(std::string_view batch) {
  if (failing || (appends_left && (*appends_left)-- <= 0)) return std::unexpected(failure{"disk full"});
  log.emplace_back(batch);
  size_ += batch.size();
  if (next_) next_->emplace_back(batch);
  return {};
}
outcome<void> fake_disk::replay(const std::function<void(std::string_view)>& batch) {
  next_.reset();
  for (const auto& b : log) batch(b);
  return {};
}
outcome<void> fake_disk::begin_rewrite() {
  ++rewrites_begun;
  if (no_room) return std::unexpected(failure{"no room for a second log"});
  next_.emplace();
  return {};
}
outcome<void> fake_disk::rewrite(std::string_view batch) {
  next_->emplace_back(batch);
  return {};
}
outcome<void> fake_disk::finish_rewrite() {
  log = std::move(*next_);
  next_.reset();
  size_ = 0;
  for (const auto& b : log) size_ += b.size();
  ++rewrites;
  return {};
}

class cluster::links final : public link_port {
public:
  links(cluster& c, std::size_t n) : cluster_(c), self_(n) {}
  bool send(const node_id& to, frame f) override { return cluster_.carry(self_, to, std::move(f)); }

private:
  cluster& cluster_;
  std::size_t self_;
};

cluster::~cluster() {
  for (auto& n : nodes) n->store.reset();
}

std::size_t cluster::index_of(const node_id& id) const {
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i]->id == id) return i;
  return SIZE_MAX;
}

bool cluster::carry(std::size_t from, const node_id& to, frame f) {
  const auto target = index_of(to);
  if (target == SIZE_MAX || refusing.contains({nodes[from]->id, to})) return false;
  ++frames;
  bytes += f.body.size() + 6;
  if (lose && lose(nodes[from]->id, to, f)) return true;
  const std::pair link(from, target);
  if (cut_.contains(link)) return true; // swallowed: nobody knows yet
  auto when = time.now() + delay_min + duration(random.below(static_cast<std::uint64_t>(delay_spread.count()) + 1));
  when = last_arrival_[link] = std::max(when, last_arrival_[link]);
  timers.at(when, [this, link, epoch = link_epoch_[link], f = std::move(f)] {
    auto& n = *nodes[link.second];
    if (!n.store || cut_.contains(link) || link_epoch_[link] != epoch) return;
    if (!n.store->on_frame(nodes[link.first]->id, f)) std::abort();
  });
  return true;
}

void cluster::break_links(std::size_t n) {
  for (std::size_t other = 0; other < nodes.size(); ++other) {
    if (other == n) continue;
    ++link_epoch_[{n, other}];
    ++link_epoch_[{other, n}];
    timers.at(time.now() + milliseconds(1), [this, n, other] {
      if (nodes[other]->store) nodes[other]->store->on_link_down(nodes[n]->id);
    });
  }
}

void cluster::cut(std::size_t a, std::size_t b) {
  cut_.insert({a, b});
  cut_.insert({b, a});
}

void cluster::heal(std::size_t a, std::size_t b) {
  cut_.erase({a, b});
  cut_.erase({b, a});
  ++link_epoch_[{a, b}];
  ++link_epoch_[{b, a}];
  for (const auto& [x, y] : {std::pair(a, b), std::pair(b, a)})
    if (nodes[x]->store) {
      nodes[x]->store->on_link_down(nodes[y]->id);
      nodes[x]->store->on_link_up(nodes[y]->id);
    }
}

void cluster::boot(std::size_t i) {
  auto& n = *nodes[i];
  store_ports ports;
  ports.links = n.links.get();
  ports.timers = &timers;
  ports.time = &time;
  ports.durable = &n.disk;
  ports.log = &n.disk;
  ports.memory = &n.disk;
  ports.cluster_offset = [&n] { return std::chrono::duration_cast<milliseconds>(n.clock_off).count(); };
  ports.post = [this](std::move_only_function<void()> f) { timers.at(time.now(), std::move(f)); };
  store_hooks hooks;
  hooks.settled = [this, i] {
    ++nodes[i]->settled_calls;
    if (nodes[i]->activate_when_settled && nodes[i]->state == member_state::joining) set_state(i, member_state::active);
  };
  hooks.disk_failed = [this, i](const failure& f) { nodes[i]->disk_failures.push_back(f); };
  hooks.view_differs = [this, i](const node_id& peer, const view_stamp&) { exchange_facts(i, index_of(peer)); };
  n.tables = {};
  store_config config;
  config.memory_budget = memory_budget;
  n.store = std::make_unique<dht::store>(n.id, ports, config, hooks);
  if (!n.store->load()) std::abort();
  if (base) n.store->set_base(base);
}

std::size_t cluster::join(const std::string& zone, bool activate) {
  const auto i = nodes.size();
  auto n = std::make_unique<node>();
  n->id = *node_id::from_bytes(crypto::sha1("node " + std::to_string(i)));
  n->zone = zone;
  n->links = std::make_unique<links>(*this, i);
  n->in_view = true;
  n->activate_when_settled = activate;
  nodes.push_back(std::move(n));
  boot(i);
  publish();
  return i;
}

void cluster::start(const std::vector<std::string>& zones) {
  for (const auto& z : zones) {
    join(z);
    if (!run_until([&] {
          return std::ranges::all_of(nodes, [](const auto& n) {
            return n->state == member_state::active && n->store->settled();
          });
        }))
      std::abort();
  }
}

void cluster::kill(std::size_t n) {
  nodes[n]->store.reset();
  break_links(n);
}

void cluster::remove(std::size_t n) {
  nodes[n]->state = member_state::dead;
  publish();
}

void cluster::restart(std::size_t n, bool disk_kept) {
  if (nodes[n]->store) kill(n);
  if (!disk_kept) nodes[n]->disk = {};
  nodes[n]->state = member_state::joining;
  ++nodes[n]->life;
  boot(n);
  publish();
}

void cluster::refute(std::size_t n) {
  ++nodes[n]->incarnation;
  publish();
}

// As membership does it: both have the other's list of members; who has no opinion of its own then has the same view.
void cluster::exchange_facts(std::size_t a, std::size_t b) {
  if (b == SIZE_MAX || cut_.contains({a, b}) || nodes[a]->view_frozen || nodes[b]->view_frozen) return;
  timers.at(time.now() + milliseconds(1), [this, a, b] {
    if (cut_.contains({a, b})) return;
    for (const auto& [x, y] : {std::pair(a, b), std::pair(b, a)})
      if (nodes[x]->store) nodes[x]->store->facts_exchanged(nodes[y]->id);
  });
}

void cluster::set_state(std::size_t n, member_state s) {
  nodes[n]->state = s;
  publish();
}

void cluster::set_base(const std::vector<std::size_t>& members) {
  ++base.epoch;
  base.members.clear();
  for (const auto n : members) base.members.push_back(nodes[n]->id);
  std::ranges::sort(base.members);
  for (auto& n : nodes)
    if (n->store) n->store->set_base(base);
}

void cluster::publish() {
  ++stamp_;
  for (auto& to : nodes) {
    if (!to->store || !to->in_view || to->view_frozen) continue;
    auto v = std::make_shared<view>();
    v->self = to->id;
    v->stamp = {stamp_, stamp_};
    if (to->sees) v->stamp.hash += 1'000'000 * (index_of(to->id) + 1);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto& n = nodes[i];
      if (!n->in_view) continue;
      member m;
      m.id = n->id;
      m.life = n->life;
      m.incarnation = n->incarnation;
      m.state = n->state;
      m.suspect = n->suspect;
      if (to->sees && to->sees->contains(i)) m.state = to->sees->at(i);
      m.body.version = 1;
      m.body.wire_highest = n->wire_highest;
      m.body.zone = n->zone;
      m.body.roles.add(role::registrar);
      v->members.push_back(std::move(m));
    }
    std::ranges::sort(v->members, {}, &member::id);
    tables_.update(*v); // the same for all of one publish: made once
    to->tables = tables_.of(role::registrar);
    to->store->set_view(std::move(v), to->tables);
  }
}

void cluster::run(duration d) {
  const auto end = time.now() + d;
  for (;;) {
    timers.run_due(time.now());
    const auto next = timers.next_deadline();
    if (!next || *next > end) break;
    if (*next > time.now()) time.advance(*next - time.now());
  }
  time.advance(end - time.now());
  timers.run_due(time.now());
}

bool cluster::run_until(const std::function<bool()>& f, duration limit) {
  const auto end = time.now() + limit;
  while (!f()) {
    const auto next = timers.next_deadline();
    if (!next || *next > end) return false;
    if (*next > time.now()) time.advance(*next - time.now());
    timers.run_due(time.now());
  }
  return true;
}

std::vector<std::size_t> cluster::list_of(const ring_key& k) {
  std::vector<std::size_t> out;
  for (auto& n : nodes)
    if (n->store && !n->view_frozen) {
      const auto owners = n->tables.serving->at(k);
      for (const auto* id : owners.span()) out.push_back(index_of(*id));
      return out;
    }
  return out;
}

std::size_t cluster::owner_of(const ring_key& k) {
  const auto list = list_of(k);
  return list.empty() ? SIZE_MAX : list.front();
}

ring_key cluster::key_owned_by(std::size_t n, int salt) {
  for (int i = 0;; ++i) {
    const auto k = key_of_aor("sip:user" + std::to_string(salt * 1000 + i) + "@example.com");
    if (owner_of(k) == n) return k;
  }
}

namespace {

change to_change(const std::string& item, std::optional<std::string> value, unix_ms expires) {
  if (!value) return {item, {}, 0, true};
  return {item, *value, expires, false};
}
unix_ms expiry(table t, const cluster& c) { return is_durable(t) ? 0 : c.time.wall() + 3'600'000; }

} // namespace

write_result cluster::write(std::size_t n, const ring_key& k, const std::string& item, std::optional<std::string> value,
                            table t) {
  auto got = std::make_shared<std::optional<write_result>>();
  at(n).write(
      t, k,
      [c = to_change(item, std::move(value), expiry(t, *this))](const auto&)
          -> std::expected<std::vector<change>, int> { return std::vector<change>{c}; },
      [got](write_result r) { *got = std::move(r); });
  if (!run_until([&] { return got->has_value(); })) std::abort();
  return std::move(**got);
}

write_result cluster::put(std::size_t n, const ring_key& k, const std::string& item, std::optional<std::string> value,
                          table t) {
  auto got = std::make_shared<std::optional<write_result>>();
  at(n).put(t, k, {to_change(item, std::move(value), expiry(t, *this))}, [got](write_result r) { *got = std::move(r); });
  if (!run_until([&] { return got->has_value(); })) std::abort();
  return std::move(**got);
}

fetch_result cluster::fetch(std::size_t n, const ring_key& k, table t) {
  auto got = std::make_shared<std::optional<fetch_result>>();
  at(n).fetch(t, k, [got](fetch_result r) { *got = std::move(r); });
  if (!run_until([&] { return got->has_value(); })) std::abort();
  return std::move(**got);
}

std::optional<std::string> cluster::value(std::size_t n, const ring_key& k, const std::string& item, table t) {
  for (const auto& r : at(n).read(t, k))
    if (r.item == item) return r.value;
  return std::nullopt;
}

} // namespace skald::dht::test
