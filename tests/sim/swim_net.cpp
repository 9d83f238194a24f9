#include "tests/sim/swim_net.hpp"

#include "base/log.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace skald::sim {
namespace {
constexpr int nodes_max = 1100; // room in the matrix of paths for those who come later
constexpr std::size_t socket_buffer = 500; // datagrams that wait for a paused process
} // namespace

swim_options lan(int nodes, double loss, std::uint64_t seed) { return {.nodes = nodes, .loss = loss, .seed = seed}; }

swim_options wan(int nodes, double loss, std::uint64_t seed) {
  return {.nodes = nodes, .timing = dht::wan_profile(), .delay_min = milliseconds(20), .delay_max = milliseconds(150),
          .retransmission = milliseconds(400), .loss = loss, .seed = seed};
}

struct swim_net::node final : dht::datagrams, dht::link_port, dht::membership_observer, clock {
  node(swim_net& net_, int number_, std::uint64_t seed) : net(net_), number(number_), random(seed) {
    id = *node_id::from_bytes(random.bytes(20));
  }
  swim_net& net;
  int number;
  node_id id;
  seeded_rng random;
  std::unique_ptr<dht::membership> member; // null: killed
  dht::view_ptr view;
  unsigned epoch = 0;
  double loss = 0;
  milliseconds clock_offset{0};
  mono_time scheduled = mono_time::max();
  mono_time paused_until{};
  std::vector<packet> buffered;

  mono_time now() const override { return net.now_; }
  unix_ms wall() const override {
    return 1'700'000'000'000 + std::chrono::duration_cast<milliseconds>(net.now_.time_since_epoch() + clock_offset).count();
  }
  void send(const node_id& to, std::string bytes) override { net.send(number, to, std::move(bytes), std::nullopt); }
  bool send(const node_id& to, dht::frame f) override {
    net.send(number, to, {}, std::move(f));
    return true;
  }
  void on_view(dht::view_ptr v) override {
    net.note_view(number, *v);
    view = std::move(v);
  }
  void on_body_wanted(const node_id&, std::uint64_t) override {} // no bodies here: versions are 0
  void on_self_removed(std::uint64_t, duration) override { ++net.self_removals_; }
  void on_stale(bool stale) override {
    if (!stale && !net.confirmed(number)) ++net.fresh_in_vain_;
  }
  void on_base(const dht::base& b) override { kept = b; }
  dht::base kept; // on disk
};

swim_net::swim_net(swim_options o) : options_(o), rng_(o.seed), paths_(std::size_t{nodes_max} * nodes_max, path::open) {
  log::set_level(log::level::error);
  std::vector<dht::fact> all;
  for (int i = 0; i < o.nodes; ++i) {
    nodes_.push_back(std::make_unique<node>(*this, i, rng_.next()));
    numbers_[nodes_.back()->id] = i;
    make(i, dht::member_state::active);
    all.push_back(nodes_[static_cast<std::size_t>(i)]->member->facts().front());
  }
  for (auto& n : nodes_) n->member->merge(all, now_);
  for (int i = 0; i < o.nodes; ++i) schedule(i);
  run_for(10 * o.timing.random_probe);
  removals_.clear();
  suspicions_ = packets_ = bytes_ = self_removals_ = 0;
}

swim_net::~swim_net() = default;

void swim_net::make(int number, dht::member_state begin) {
  node& n = *nodes_[static_cast<std::size_t>(number)];
  n.scheduled = mono_time::max();
  n.paused_until = {};
  n.buffered.clear();
  ++n.epoch;
  n.view = nullptr;
  n.member = std::make_unique<dht::membership>(dht::membership_config{.self = n.id, .timing = options_.timing, .body = {}, .begin = begin, .known_base = n.kept},
                                               n, n, n, n, n.random, now_);
}

duration swim_net::delay() {
  const auto span = static_cast<std::uint64_t>((options_.delay_max - options_.delay_min).count());
  return options_.delay_min + duration(rng_.below(span + 1));
}

void swim_net::push(mono_time at, int node, int packet) {
  heap_.push_back({at, ++sequence_, node, packet});
  std::ranges::push_heap(heap_, std::greater<>{});
}

void swim_net::send(int from, const node_id& to, std::string bytes, std::optional<dht::frame> f) {
  const auto found = numbers_.find(to);
  if (found == numbers_.end()) return;
  node& target = *nodes_[static_cast<std::size_t>(found->second)];
  const path p = paths_[static_cast<std::size_t>(from) * nodes_max + static_cast<std::size_t>(target.number)];
  const double loss = std::max({options_.loss, target.loss, nodes_[static_cast<std::size_t>(from)]->loss});
  ++packets_;
  bytes_ += 65 + (f ? f->body.size() : bytes.size()); // IP, UDP and DTLS around it
  if (p == path::closed || (!f && p == path::links_only)) return;
  duration d = delay();
  if (!f && rng_.chance(loss)) return;
  while (f && rng_.chance(loss)) d += options_.retransmission;
  int slot = static_cast<int>(pool_.size());
  if (free_.empty()) {
    pool_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  pool_[static_cast<std::size_t>(slot)] = {from, target.number, target.epoch, std::move(f), std::move(bytes)};
  push(now_ + d, target.number, slot);
}

void swim_net::hand_over(node& n, const packet& p) {
  if (!n.member || n.epoch != p.epoch) return;
  const node_id& from = nodes_[static_cast<std::size_t>(p.from)]->id;
  if (p.frame) n.member->on_frame(from, *p.frame, now_);
  else n.member->receive(from, p.bytes, now_);
}

void swim_net::deliver(int slot) {
  const packet p = std::move(pool_[static_cast<std::size_t>(slot)]);
  free_.push_back(slot);
  node& n = *nodes_[static_cast<std::size_t>(p.to)];
  if (!n.member) return;
  if (now_ < n.paused_until) {
    if (n.buffered.size() < socket_buffer) n.buffered.push_back(p);
    return;
  }
  hand_over(n, p);
  schedule(n.number);
}

void swim_net::turn(int number) {
  node& n = *nodes_[static_cast<std::size_t>(number)];
  if (!n.member) return;
  n.scheduled = mono_time::max();
  for (const packet& p : std::exchange(n.buffered, {})) hand_over(n, p);
  n.member->tick(now_);
  schedule(number);
}

void swim_net::schedule(int number) {
  node& n = *nodes_[static_cast<std::size_t>(number)];
  if (!n.member) return;
  const mono_time at = std::max({n.member->next_deadline(), n.paused_until, now_});
  if (at >= n.scheduled) return;
  n.scheduled = at;
  push(at, number, -1);
}

void swim_net::run_until(mono_time end) {
  while (!heap_.empty() && heap_.front().at <= end) {
    std::ranges::pop_heap(heap_, std::greater<>{});
    const event e = heap_.back();
    heap_.pop_back();
    now_ = e.at;
    if (e.packet >= 0) deliver(e.packet);
    else if (nodes_[static_cast<std::size_t>(e.node)]->scheduled == e.at) turn(e.node); // else an earlier one replaced it
  }
  now_ = end;
}

// --- faults -----------------------------------------------------------------------------------------------------------------

void swim_net::kill(int number) {
  nodes_[static_cast<std::size_t>(number)]->member = nullptr;
}

void swim_net::pause(int number, duration d) {
  node& n = *nodes_[static_cast<std::size_t>(number)];
  n.paused_until = now_ + d;
  n.scheduled = n.paused_until;
  push(n.paused_until, number, -1);
}

void swim_net::set_path(int from, int to, path p) { paths_[static_cast<std::size_t>(from) * nodes_max + static_cast<std::size_t>(to)] = p; }

void swim_net::cut(const std::vector<int>& a, const std::vector<int>& b, path there, path back) {
  for (const int x : a)
    for (const int y : b) {
      set_path(x, y, there);
      set_path(y, x, back);
    }
}

void swim_net::heal() { std::ranges::fill(paths_, path::open); }
void swim_net::set_loss_of(int number, double l) { nodes_[static_cast<std::size_t>(number)]->loss = l; }
void swim_net::set_timing(int node, const dht::profile& p) {
  nodes_[static_cast<std::size_t>(node)]->member->set_timing(p, now_);
  schedule(node);
}

void swim_net::set_clock_offset(int number, milliseconds off) { nodes_[static_cast<std::size_t>(number)]->clock_offset = off; }

int swim_net::start(int contact) {
  const int number = size();
  nodes_.push_back(std::make_unique<node>(*this, number, rng_.next()));
  numbers_[nodes_.back()->id] = number;
  restart(number, contact);
  return number;
}

void swim_net::start_alone(int number) {
  make(number, dht::member_state::joining);
  schedule(number);
}

void swim_net::forget_disk(int number) { nodes_[static_cast<std::size_t>(number)]->kept = {}; }

void swim_net::restart(int number, int contact) {
  make(number, dht::member_state::joining);
  nodes_[static_cast<std::size_t>(number)]->member->contact(id_of(contact), now_);
  schedule(number);
}

// --- what can be seen -------------------------------------------------------------------------------------------------------

void swim_net::note_view(int by, const dht::view& v) {
  const dht::view_ptr& before = nodes_[static_cast<std::size_t>(by)]->view;
  if (!before) return;
  for (const dht::member& m : v.members) {
    const dht::member* was = before->find(m.id);
    if (was == nullptr || !was->alive()) continue;
    if (!m.alive()) removals_.push_back({now_, by, numbers_.at(m.id)});
    else if (m.suspect && !was->suspect) ++suspicions_;
  }
}

dht::membership& swim_net::at(int number) { return *nodes_[static_cast<std::size_t>(number)]->member; }
node_id swim_net::id_of(int number) const { return nodes_[static_cast<std::size_t>(number)]->id; }
bool swim_net::running(int number) const { return nodes_[static_cast<std::size_t>(number)]->member != nullptr; }

bool swim_net::sees(int number, int other) const {
  const dht::view_ptr v = nodes_[static_cast<std::size_t>(number)]->member->current();
  const dht::member* m = v->find(id_of(other));
  return m != nullptr && m->alive();
}

int swim_net::views_with(int member) const {
  int with = 0;
  for (int i = 0; i < size(); ++i) with += i != member && running(i) && sees(i, member);
  return with;
}

bool swim_net::all_agree() const {
  std::optional<dht::view_stamp> stamp;
  for (const auto& n : nodes_) {
    if (!n->member) continue;
    const dht::view_stamp s = n->member->current()->stamp;
    if (stamp && *stamp != s) return false;
    stamp = s;
  }
  return true;
}

bool swim_net::confirmed(int node) const {
  const dht::view_stamp mine = nodes_[static_cast<std::size_t>(node)]->member->current()->stamp;
  return std::ranges::any_of(nodes_, [&](const auto& n) { return n->number != node && n->member && n->member->current()->stamp == mine; });
}

bool swim_net::bases_agree() const {
  const dht::base* first = nullptr;
  for (const auto& n : nodes_) {
    if (!n->member) continue;
    const dht::base& b = n->member->base_known().current();
    if (first != nullptr && *first != b) return false;
    first = &b;
  }
  return true;
}

bool swim_net::all_full() const {
  if (!all_agree()) return false;
  for (int i = 0; i < size(); ++i)
    for (int j = 0; j < size(); ++j)
      if (running(i) && sees(i, j) != running(j)) return false;
  return true;
}

} // namespace skald::sim
