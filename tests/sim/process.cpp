#include "tests/sim/process.hpp"

#include "dht/link/messages.hpp"
#include "dht/view/body_codec.hpp"
#include "tests/sim/cluster.hpp"
#include "tests/sim/plants.hpp"
#include "tests/sim/sip_machine.hpp"
#include "tests/sim/sip_world.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr duration mesh_idle_max = seconds(120), mesh_quiet_max = seconds(2); // the numbers of dht/mesh/mesh.hpp

std::string gossip_frame(dht::frame_type type, std::string_view body) {
  std::string out{static_cast<char>(type), '\1'};
  return out.append(body);
}

dht::member_body body_of(const machine& m, std::uint64_t version) {
  const machine_spec& s = m.spec;
  dht::member_body b;
  b.version = version;
  b.name = s.bundle;
  b.addresses = {s.ip};
  b.zone = s.zone;
  b.capacity = s.capacity;
  b.roles.add(dht::role::registrar);
  b.roles.add(dht::role::proxy);
  b.wire_lowest = dht::wire_version_lowest;
  b.wire_highest = m.wire_highest; // without it stores merge as with an earlier version, and compare nothing
  return b;
}

} // namespace

process::process(cluster& home, machine& on)
    : home_(home), on_(on), number_(home.next_process_number()), random_(home.time.seed() * 1'000'003 + number_) {}

process::~process() = default;

dht::store_api& process::store() { return wrapped_store_ ? *wrapped_store_ : *store_; }

void process::start(bool warm) {
  turn([this, warm] {
    remembered_peers_ = on_.disk.memory.peers;
    revoked_ = on_.disk.revoked;
    mesh_ = std::make_unique<sim::mesh>(home_.net, on_.spec.number, number_, timers_, on_,
                                        sim::mesh::callbacks{.gossip = [this](machine_id m, std::string_view b) { on_gossip(m, b); },
                                                             .peer = [this](machine_id m) { on_peer(m); },
                                                             .down = [this](machine_id m) { on_peer_gone(m); },
                                                             .refused = [this](machine_id m) { return is_revoked(home_.at(m).spec.id); }});
    const auto where = [this](const node_id& id) { return address_of(id); };
    dht::link_user& user = *this;
    links_ = std::make_unique<link_hub>(home_.net, on_.spec.number, on_, user, where,
                                        [this](machine_id m) { return home_.at(m).spec.id; });
    wrapped_links_ = plant_links(home_, *this, *links_);
    start_membership(warm);
    if (warm && home_.large()) settle_warm();
    start_store();
    shared_ = std::make_unique<node::shared_state>(on_, timers_, random_, *store_, home_.domain(), [this] {
      if (life_) life_->publish_facts();
    });
    const node::life_config life{.founder = home_.founder(on_.spec.number), .found = std::exchange(on_.found, false), .base = membership_->base_known().current()};
    node::life_port& port = *this;
    life_ = std::make_unique<node::cluster_life>(life, port, *membership_, *store_, *shared_, timers_, on_);
    if (warm && !home_.large()) membership_->merge(home_.warm_facts(), on_.now());
    on_view(membership_->current());
    if (home_.sip) start_sip();
    membership_turn();
    shared_->start();
    if (revoked_.number != 0) apply_revocations();
    watch_tick();
    life_->join_tick();
  });
}

void process::start_membership(bool warm) {
  dht::membership_config m{.self = id()};
  m.body = body_of(on_, std::max(static_cast<std::uint64_t>(on_.wall()), on_.disk.memory.version + 1));
  m.known_life = on_.disk.memory.life;
  m.known_base = on_.disk.memory.base;
  m.timing = home_.timing();
  if (warm) {
    m.begin = dht::member_state::active;
    m.known_base = home_.warm_base();
    for (const auto& f : home_.warm_facts()) {
      const machine& other = home_.at(*home_.machine_of(f.id));
      records_[f.id] = body_of(other, f.version);
      if (f.id == id()) m.body.version = f.version, m.known_life = f.self.life - 1;
      else addresses_[f.id] = other.spec.number;
    }
  }
  body_ = m.body;
  first_version_ = body_.version;
  twin_nonce_ = random_.next();
  records_[id()] = body_;
  dht::link_port& links = wrapped_links_ ? *wrapped_links_ : *links_;
  dht::datagrams& gossip = *this;
  dht::membership_observer& observer = *this;
  membership_ = std::make_unique<dht::membership>(std::move(m), gossip, links, observer, on_, random_, warm ? warm_began() : on_.now());
  born_ = membership_->life();
}

// Of a large cluster a little earlier, so that the first view has the bodies.
mono_time process::warm_began() const { return home_.large() ? on_.now() - dht::bodies_gather : on_.now(); }

// As one that has the others' lists and records since long, and has merged with all of them: a thousand that learn of a
// thousand, and merge, are a start of the whole cluster, which is another test.
void process::settle_warm() {
  const dht::members_list known{.cluster_time = on_.wall(), .facts = home_.warm_facts(), .agreed = home_.warm_base(), .asked = 0};
  const node_id other = home_.at(on_.spec.number == 0 ? 1 : 0).spec.id;
  membership_->on_frame(other, {dht::frame_type::members_reply, 1, dht::encode(known)}, warm_began());
  for (const auto& [whose, body] : records_) membership_->body_known(whose, body, warm_began());
  membership_->tick(on_.now());
  (void)on_.disk.save(home_.warm_lists(*this, membership_->current()));
}

void process::start_store() {
  dht::link_port& links = wrapped_links_ ? *wrapped_links_ : *links_;
  dht::store_ports ports{.links = &links, .timers = &timers_, .time = &on_, .durable = &on_.disk, .log = &on_.disk,
                         .post = [this](std::move_only_function<void()> f) { post(std::move(f)); }};
  ports.memory = &on_.disk;
  ports.cluster_offset = [this] { return membership_->time().time(on_.now()) - on_.wall(); };
  dht::store_hooks hooks;
  hooks.settled = [this] {
    if (life_) life_->try_activate();
  };
  hooks.view_differs = [this](const node_id& peer, const dht::view_stamp&) {
    membership_->compare_views(peer, on_.now());
    arm_membership();
  };
  hooks.disk_failed = [this](const failure& f) { home_.time.note("{}: {}", on_.spec.name, f.what); };
  hooks.stored = [this](const dht::record& r) { home_.on_stored(*this, r); };
  dht::store_config config;
  config.memory_budget = on_.memory_budget;
  store_ = std::make_unique<dht::store>(id(), std::move(ports), config, std::move(hooks));
  store_->set_base(membership_->base_known().current());
  SKALD_ASSERT(store_->load().has_value());
  wrapped_store_ = plant_store(home_, *this, *store_);
}

void process::start_sip() {
  const auto where = [this](const node_id& id) { return address_of(id); };
  const auto names_seen = [this](bool seen) { life_->set_names_in_dns(seen); };
  sip_ = std::make_unique<sip_machine>(sip_machine::surroundings{*home_.sip, *this, timers_, random_, where, names_seen});
  sip_->on_facts(facts_);
}

// ---- the loop

void process::turn(std::move_only_function<void()> f) {
  if (in_turn_) return f();
  in_turn_ = true;
  f();
  run_turn();
}

void process::run_turn() {
  do {
    timers_.run_due(on_.now());
    for (auto& p : std::exchange(posted_, {})) p();
  } while (!posted_.empty() || (timers_.next_deadline() && *timers_.next_deadline() <= on_.now()));
  in_turn_ = false;
  if (const duration d = std::exchange(on_.disk.blocked, duration{0}); d > milliseconds(1)) on_.pause(d);
  arm();
}

void process::post(std::move_only_function<void()> f) {
  posted_.push_back(std::move(f));
  if (in_turn_) return;
  home_.time.after(duration{0}, [this, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired() && !on_.paused()) turn([] {});
  });
}

void process::arm() {
  const auto next = timers_.next_deadline();
  if (!next) return;
  const mono_time when = std::max(on_.in_world(*next), home_.time.now());
  if (when >= armed_) return;
  armed_ = when;
  home_.time.at(when, [this, when, alive = std::weak_ptr<int>(alive_)] {
    if (alive.expired() || armed_ != when) return;
    armed_ = mono_time::max();
    if (!on_.paused()) turn([] {});
  });
}

void process::wake() {
  in_turn_ = true; // timers wait until the socket is empty
  home_.net.set_paused(on_.spec.number, false);
  if (home_.sip) home_.sip->wire.woke(on_.spec.number);
  armed_ = mono_time::max();
  run_turn();
}

// ---- datagrams and frames

std::optional<machine_id> process::address_of(const node_id& id) const {
  const auto at = addresses_.find(id);
  return at != addresses_.end() ? std::optional(at->second) : std::nullopt;
}

// dht/mesh: where its session is; or where it says that it listens, if where it was it is silent.
std::optional<machine_id> process::way_to(const node_id& id) {
  auto home = homes_.find(id);
  if (home != homes_.end() && mesh_->silent_for(home->second) > mesh_idle_max) {
    mesh_->drop(home->second);
    on_peer_gone(home->second);
    home = homes_.find(id);
  }
  const auto told = address_of(id);
  if (home == homes_.end()) return told;
  return told && *told != home->second && mesh_->silent_for(home->second) > mesh_quiet_max ? told : std::optional(home->second);
}

// What was with it goes by another session with that node, if there is one.
void process::on_peer_gone(machine_id there) {
  const node_id who = home_.at(there).spec.id;
  const auto home = homes_.find(who);
  if (home == homes_.end() || home->second != there) return;
  homes_.erase(home);
  for (const machine_id p : mesh_->peers())
    if (home_.at(p).spec.id == who) homes_[who] = p;
}

void process::close() { mesh_->close(); }

void process::send(const node_id& to, std::string bytes) {
  if (const auto there = way_to(to)) mesh_->send(*there, bytes);
}

void process::on_datagram(machine_id from, std::string bytes) {
  turn([&] { mesh_->on_datagram(from, bytes); });
}

void process::on_unreachable(machine_id there) {
  turn([&] {
    membership_->peer_hint(home_.at(there).spec.id, on_.now());
    arm_membership();
  });
}

void process::on_stream_open(stream_id s, machine_id peer, stream_use use, bool outbound) {
  turn([&] {
    if (is_revoked(home_.at(peer).spec.id)) return home_.net.close(s, on_.spec.number);
    if (use == stream_use::store_link) links_->on_stream_open(s, peer, outbound);
    else sip_->links().on_stream_open(s, peer, outbound);
  });
}
void process::on_stream_bytes(stream_id s, std::string_view bytes) {
  turn([&] {
    if (!links_->on_stream_bytes(s, bytes) && sip_) sip_->links().on_stream_bytes(s, bytes);
  });
}
void process::on_stream_closed(stream_id s) {
  turn([&] {
    if (!links_->on_stream_closed(s) && sip_) sip_->links().on_stream_closed(s);
  });
}

void process::membership_turn() {
  membership_->tick(on_.now());
  arm_membership();
}

void process::arm_membership() {
  if (store_) store_->sure_until(membership_->sure_until());
  const mono_time next = membership_->next_deadline();
  if (membership_timer_ != timer_id::none && membership_due_ <= next) return;
  timers_.cancel(membership_timer_);
  membership_due_ = next;
  membership_timer_ = timers_.at(next, [this] {
    membership_timer_ = timer_id::none;
    membership_turn();
  });
}

void process::views_differ(const node_id& peer) {
  post([this, peer] {
    membership_->compare_views(peer, on_.now());
    arm_membership();
  });
}

void process::on_gossip(machine_id from, std::string_view bytes) {
  if (bytes.size() < 2) return;
  const node_id who = home_.at(from).spec.id;
  const auto type = static_cast<dht::frame_type>(bytes[0]);
  if (who == id()) return on_claim(from, bytes);
  if (const auto home = homes_.find(who); home != homes_.end() && mesh_->silent_for(home->second) > mesh_quiet_max) home->second = from; // dht/mesh
  if (type == dht::frame_type::gossip) {
    membership_->receive(who, bytes, on_.now());
    arm_membership();
  } else if (type == dht::frame_type::body_request) {
    if (const auto id = node_id::from_bytes(bytes.substr(2))) send_record(from, *id);
  } else if (type == dht::frame_type::body_reply && bytes.size() > 22) {
    const auto id = node_id::from_bytes(bytes.substr(2, 20));
    const auto body = dht::decode_body(bytes.substr(22));
    if (id && body) take_record(from, *id, *body);
  } else if (type == dht::frame_type::revocations) {
    on_revocations(bytes.substr(2));
  } else if (type == dht::frame_type::seen_elsewhere) {
    const auto ip = ip_address::parse(bytes.substr(2));
    if (const auto there = ip ? home_.machine_at(*ip) : std::nullopt; there && *there != on_.spec.number) mesh_->connect(*there);
  }
}

void process::send_record(machine_id to, const node_id& whose) {
  const auto found = records_.find(whose);
  if (found == records_.end()) return;
  mesh_->send(to, gossip_frame(dht::frame_type::body_reply, std::string(whose.view()) + dht::encode_body(found->second)));
}

void process::on_peer(machine_id peer) {
  const node_id who = home_.at(peer).spec.id;
  if (who == id()) return meet_twin(peer);
  const auto found = homes_.find(who);
  const auto before = found != homes_.end() ? std::optional(found->second) : std::nullopt;
  homes_[who] = peer;
  send_record(peer, id());
  tell_revocations(peer);
  membership_->contact(who, on_.now());
  arm_membership();
  if (before && *before != peer) doubled(*before, peer);
}

void process::on_frame(const node_id& from, dht::frame f) {
  if (f.type == dht::frame_type::revocations) return on_revocations(f.body);
  const auto type = std::to_underlying(f.type);
  if (type >= 32 && type < 64) {
    SKALD_ASSERT(store_->on_frame(from, f));
    return;
  }
  membership_->on_frame(from, f, on_.now());
  arm_membership();
  if (f.type == dht::frame_type::members_exchange || f.type == dht::frame_type::members_reply) store_->facts_exchanged(from);
}

void process::on_link_up(const node_id& peer) {
  if (revoked_.number != 0) links_->send(peer, {dht::frame_type::revocations, 1, encode(revoked_)});
  store_->on_link_up(peer);
}

void process::on_link_down(const node_id& peer) {
  store_->on_link_down(peer);
  membership_->peer_hint(peer, on_.now());
  arm_membership();
}

void process::take_record(machine_id from, const node_id& who, const dht::member_body& body) {
  if (body.addresses.empty() || is_revoked(who)) return;
  if (who == id()) return take_own_record(body);
  const auto known = records_.find(who);
  if (known != records_.end() && body.version < known->second.version) {
    if (home_.at(from).spec.id == who) send_record(from, who); // it has to write a newer one
    return;
  }
  const auto there = home_.machine_at(body.addresses.front());
  SKALD_ASSERT(there.has_value());
  records_[who] = body;
  addresses_[who] = *there;
  membership_->body_known(who, body, on_.now());
  arm_membership();
}

void process::on_body_wanted(const node_id& member, std::uint64_t) {
  if (!life_) return; // a warm start: it has them
  const std::string request = gossip_frame(dht::frame_type::body_request, member.view());
  if (const auto there = way_to(member)) return mesh_->send(*there, request);
  std::size_t asked = 0;
  for (const machine_id p : mesh_->peers())
    if (asked++ < 3) mesh_->send(p, request);
}

} // namespace skald::sim
