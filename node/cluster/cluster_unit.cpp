#include "node/cluster/cluster_unit.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "certs/credentials.hpp"
#include "dht/directory/record.hpp"
#include "node/disk/state_dir.hpp"
#include "node/io/load_watch.hpp"
#include "node/io/port_holder.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

// What membership and bodies are framed with on the gossip channel: u8 type, u8 version, body (design §10).
std::string gossip_frame(dht::frame_type type, std::string_view body) {
  std::string out{static_cast<char>(type), '\1'};
  return out.append(body);
}

constexpr std::string_view memory_file = "/cluster.json";

// The file may have been edited or be of another version: what is not a number counts as not there.
std::uint64_t number_in(const json& j, const char* key) {
  const auto found = j.find(key);
  return found != j.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

dht::base base_in(const json& j) {
  dht::base out{number_in(j, "epoch"), {}};
  if (out.epoch > dht::base_epoch_max || !j.contains("members") || !j["members"].is_array()) return {};
  for (const json& m : j["members"]) {
    const auto bytes = m.is_string() ? from_hex(m.get_ref<const std::string&>()) : std::unexpected(errc::malformed);
    if (!bytes || bytes->size() != 20) continue;
    out.members.push_back(*node_id::from_bytes(*bytes));
  }
  std::ranges::sort(out.members);
  out.members.erase(std::ranges::unique(out.members).begin(), out.members.end());
  return out;
}

} // namespace

cluster_unit::cluster_unit(cluster_unit_config config, loop& events, const clock& clk, rng& random,
                           sip::dns_port* dns, std::function<void()> changed)
    : config_(std::move(config)), events_(events), clock_(clk), random_(random), dns_(dns),
      changed_(std::move(changed)) {}

cluster_unit::~cluster_unit() = default;

outcome<void> cluster_unit::open_state() {
  if (const auto text = read_file(config_.state_dir + std::string(memory_file)); text) {
    const json j = json::parse(*text, nullptr, false);
    if (j.is_object()) {
      known_life_ = number_in(j, "life");
      known_version_ = number_in(j, "version");
      if (j.contains("base") && j["base"].is_object()) known_base_ = base_in(j["base"]);
      if (j.contains("profile") && j["profile"] == "wan") profile_ = "wan";
      if (j.contains("peers"))
        for (const json& p : j["peers"])
          if (p.is_string())
            if (const auto e = endpoint::parse(p.get<std::string>())) remembered_peers_.push_back(*e);
    }
  }
  auto durable = sqlite_table::open(config_.state_dir + "/durable.db");
  if (!durable) return std::unexpected(durable.error());
  durable_ = std::move(*durable);
  auto log = append_log::open(config_.state_dir + "/volatile.log");
  if (!log) return std::unexpected(log.error());
  log_ = std::move(*log);
  memory_ = std::make_unique<small_file>(config_.state_dir + "/sources");
  return {};
}

std::optional<endpoint> cluster_unit::link_address(const node_id& id) const {
  return link_addresses_.with([&](const auto& all) -> std::optional<endpoint> {
    const auto found = all.find(id);
    if (found == all.end()) return std::nullopt;
    return found->second;
  });
}

outcome<void> cluster_unit::start(link_hub& links) {
  links_ = &links;
  if (auto opened = open_state(); !opened) return opened;
  if (auto good = load_revocations(); !good) return good;
  if (auto up = start_mesh(); !up) return up;
  start_membership();
  if (auto up = start_store(); !up) return up;
  shared_ = std::make_unique<shared_state>(clock_, events_.timers(), random_, *store_, config_.bundle->domain,
                                           [this] {
                                             if (life_) life_->publish_facts();
                                           });
  const life_config life{.founder = config_.bundle->founder, .found = config_.node.found, .base = known_base_};
  life_port& port = *this;
  life_ = std::make_unique<cluster_life>(life, port, *membership_, *store_, *shared_, events_.timers(), clock_);
  on_view(membership_->current());
  links_->set_user(*this);
  links_->start();
  membership_turn();
  shared_->start();
  start_directory();
  if (revocations_.number != 0) shared_->set_revoked_at(static_cast<unix_ms>(revocations_.number));
  watch_tick();
  life_->join_tick();
  return {};
}

outcome<void> cluster_unit::start_store() {
  dht::store_ports ports{.links = links_, .timers = &events_.timers(), .time = &clock_, .durable = durable_.get(),
                         .log = log_.get(), .post = [this](std::move_only_function<void()> f) { events_.post_always(std::move(f)); }};
  ports.cluster_offset = [this] { return membership_->time().time(clock_.now()) - clock_.wall(); };
  dht::store_hooks hooks;
  hooks.settled = [this] {
    if (life_) life_->try_activate();
  };
  hooks.view_differs = [this](const node_id& peer, const dht::view_stamp&) {
    membership_->compare_views(peer, clock_.now());
    arm_membership();
  };
  ports.memory = memory_.get();
  dht::store_config config;
  config.memory_budget = memory_budget(config_.node.memory_mb) / 3 * 2; // the rest is for requests, links and flows
  store_ = std::make_unique<dht::store>(config_.bundle->id, std::move(ports), config, std::move(hooks));
  store_->set_base(known_base_);
  return store_->load();
}

outcome<void> cluster_unit::start_mesh() {
  dht::mesh_config mesh{.identity = config_.bundle, .bind = {}, .crl = revocations_der_};
  for (const ip_family family : {ip_family::v4, ip_family::v6})
    for (const ip_address& a : config_.addresses)
      if (a.family == family) {
        mesh.bind.push_back({a, config_.node.overlay_port});
        break;
      }
  dht::mesh_callbacks on;
  on.gossip = [this](const node_id& from, std::string_view bytes) { on_gossip(from, bytes); };
  on.peer = [this](const dht::mesh_peer& p) { on_peer(p); };
  on.unreachable = [this](const node_id& id) { membership_->peer_hint(id, clock_.now()); };
  on.twin = [this](const endpoint& at, std::string_view claim) { on_twin(at, claim); };
  on.doubled = [this](const node_id&, const endpoint& before, const endpoint& now) { on_doubled(before, now); };
  mesh.twin_claim = [this] { return own_claim().encode(); };
  for (const endpoint& e : mesh.bind) // the mesh could not say who has it
    if (auto free = probe_port("udp", e); !free) return free;
  auto opened = dht::mesh::open(events_.io(), clock_, std::move(mesh), std::move(on));
  if (!opened) return std::unexpected(opened.error());
  mesh_ = std::move(*opened);
  return {};
}

void cluster_unit::start_membership() {
  dht::membership_config m{.self = config_.bundle->id};
  m.body = config_.body;
  // Newer than every earlier body of this node, even where the clock was set back meanwhile.
  m.body.version = std::max(static_cast<std::uint64_t>(clock_.wall()), known_version_ + 1);
  m.known_life = known_life_;
  m.known_base = known_base_;
  if (profile_ == "wan") m.timing = dht::wan_profile();
  own_record_ = dht::make_record(m.body, *config_.bundle);
  config_.body = m.body;
  first_version_ = m.body.version;
  twin_nonce_ = random_.next();
  membership_ = std::make_unique<dht::membership>(std::move(m), *this, *links_, *this, clock_, random_, clock_.now());
  born_ = membership_->life();
}

// ---- datagrams and frames

void cluster_unit::send(const node_id& to, std::string bytes) { mesh_->send_gossip(to, bytes); }

void cluster_unit::membership_turn() {
  membership_->tick(clock_.now());
  arm_membership();
}

// After every call into membership.
void cluster_unit::arm_membership() {
  if (store_) store_->sure_until(membership_->sure_until());
  const mono_time next = membership_->next_deadline();
  if (membership_timer_ != timer_id::none && membership_due_ <= next) return;
  events_.timers().cancel(membership_timer_);
  membership_due_ = next;
  membership_timer_ = events_.timers().at(next, [this] {
    membership_timer_ = timer_id::none;
    membership_turn();
  });
}

void cluster_unit::views_differ(const node_id& peer) {
  events_.post([this, peer] {
    membership_->compare_views(peer, clock_.now());
    arm_membership();
  });
}

void cluster_unit::on_gossip(const node_id& from, std::string_view bytes) {
  if (bytes.size() < 2) return;
  switch (static_cast<std::uint8_t>(bytes[0])) {
  case std::to_underlying(dht::frame_type::gossip):
    membership_->receive(from, bytes, clock_.now());
    arm_membership();
    return;
  case std::to_underlying(dht::frame_type::body_request):
    if (const auto id = node_id::from_bytes(bytes.substr(2)))
      if (const auto found = records_.find(*id); found != records_.end())
        mesh_->send_gossip(from, gossip_frame(dht::frame_type::body_reply, found->second));
    return;
  case std::to_underlying(dht::frame_type::body_reply): take_record(from, bytes.substr(2)); return;
  case std::to_underlying(dht::frame_type::seen_elsewhere): on_seen_elsewhere(bytes.substr(2)); return;
  case std::to_underlying(dht::frame_type::revocations): on_revocations(bytes.substr(2)); return;
  default: return;
  }
}

void cluster_unit::on_peer(const dht::mesh_peer& peer) {
  // Both ends show their record first: with it come the ports, so links can be opened.
  mesh_->send_gossip(peer.id, gossip_frame(dht::frame_type::body_reply, own_record_));
  tell_revocations(peer.id);
  membership_->contact(peer.id, clock_.now());
  if (directory_) directory_->met(peer.at);
  arm_membership();
}

void cluster_unit::on_frame(const node_id& from, dht::frame f) {
  switch (f.type) {
  case dht::frame_type::control_request:
  case dht::frame_type::control_reply:
    if (query_ != nullptr) query_->on_frame(from, f);
    return;
  case dht::frame_type::store_write:
  case dht::frame_type::store_ack:
  case dht::frame_type::store_fetch:
  case dht::frame_type::store_records:
  case dht::frame_type::store_put:
  case dht::frame_type::store_put_done:
  case dht::frame_type::store_copy:
  case dht::frame_type::store_copy_done:
  case dht::frame_type::store_copy_request:
  case dht::frame_type::store_compare:
  case dht::frame_type::store_compared:
  case dht::frame_type::store_merge_please:
  case dht::frame_type::store_state:
    if (!store_->on_frame(from, f)) log::warning("store", fmt::format("a malformed frame from {}", from.hex()));
    return;
  case dht::frame_type::revocations: on_revocations(f.body); return;
  case dht::frame_type::hello:
  case dht::frame_type::goodbye:
  case dht::frame_type::link_ping:
  case dht::frame_type::link_pong:
  case dht::frame_type::gossip:
  case dht::frame_type::members_exchange:
  case dht::frame_type::members_reply:
  case dht::frame_type::seen_elsewhere:
  case dht::frame_type::body_request:
  case dht::frame_type::body_reply:
    membership_->on_frame(from, f, clock_.now());
    arm_membership();
    if (f.type == dht::frame_type::members_exchange || f.type == dht::frame_type::members_reply) store_->facts_exchanged(from);
    return;
  }
}

void cluster_unit::on_link_up(const node_id& peer) {
  send_revocations(peer);
  store_->on_link_up(peer);
}

void cluster_unit::on_link_down(const node_id& peer) {
  store_->on_link_down(peer);
  membership_->peer_hint(peer, clock_.now());
  arm_membership();
}

// ---- records: bodies that their nodes signed

void cluster_unit::take_record(const node_id& from, std::string_view bytes) {
  const auto opened = dht::open_record(bytes, trust(), clock_.wall());
  if (!opened) return;
  if (take_entry(*opened)) {
    records_[opened->id] = std::string(bytes);
    return;
  }
  // It lost its disk, and its clock was ahead when it wrote the one that is known: it is told, and writes a newer one.
  const auto known = versions_.find(opened->id);
  const auto record = records_.find(opened->id);
  if (from != opened->id || known == versions_.end() || record == records_.end() || opened->body.version >= known->second) return;
  mesh_->send_gossip(from, gossip_frame(dht::frame_type::body_reply, record->second));
}

// Whoever hands a record on may hand on an old one, as it is signed for good: a newer one is never replaced by it.
bool cluster_unit::take_entry(const dht::directory_entry& e) {
  if (e.body.addresses.empty()) return false;
  if (e.id == config_.bundle->id) return take_own_entry(e), false;
  if (const auto known = versions_.find(e.id); known != versions_.end() && e.body.version < known->second) return false;
  versions_[e.id] = e.body.version;
  mesh_->set_address(e.id, {e.body.addresses.front(), e.body.overlay_port});
  link_addresses_.with([&](auto& all) {
    if (all.size() >= link_addresses_max && view()) std::erase_if(all, [v = view()](const auto& a) { return v->find(a.first) == nullptr; });
    all[e.id] = {e.body.addresses.front(), e.body.link_port};
  });
  membership_->body_known(e.id, e.body, clock_.now());
  arm_membership();
  return true;
}

// What this node says of itself is new: signed, told to the mesh and the directory.
void cluster_unit::renew_body(std::uint64_t above) {
  config_.body.version = std::max({static_cast<std::uint64_t>(clock_.wall()), config_.body.version + 1, above + 1});
  own_record_ = dht::make_record(config_.body, *config_.bundle);
  records_[config_.bundle->id] = own_record_;
  membership_->set_body(config_.body, clock_.now());
  if (directory_) directory_->publish(config_.body);
  for (const dht::mesh_peer& p : mesh_->peers()) mesh_->send_gossip(p.id, gossip_frame(dht::frame_type::body_reply, own_record_));
  arm_membership();
  life_->remember();
}

void cluster_unit::on_body_wanted(const node_id& member, std::uint64_t) {
  const std::string request = gossip_frame(dht::frame_type::body_request, member.view());
  if (mesh_->send_gossip(member, request)) return;
  std::size_t asked = 0;
  for (const dht::mesh_peer& p : mesh_->peers())
    if (asked++ < 3) mesh_->send_gossip(p.id, request);
}

// ---- the directory: OpenDHT, for those whom gossip has not reached

void cluster_unit::start_directory() {
  records_[config_.bundle->id] = own_record_;
  directory_ = std::make_unique<dht::opendht_directory>(events_.io(), clock_, *mesh_, config_.bundle);
  directory_->publish(config_.body);
  read_directory();
}

// At the start until somebody is known, then every ten minutes: it mends what gossip cannot, two parts of a cluster that
// have forgotten each other.
void cluster_unit::read_directory() {
  const auto again = [this](bool) {
    const bool alone = mesh_->peers().empty();
    events_.timers().at(events_.now() + (alone ? seconds(5) : directory_period), [this] {
      if (directory_) read_directory();
    });
  };
  directory_->read(
      [this](const dht::directory_entry& e) {
        // An entry of this node itself, at another address, is a twin's: talking to it tells.
        if (!take_entry(e) && e.id != config_.bundle->id) return;
        if (!mesh_->has_session(e.id) && !e.body.addresses.empty()) mesh_->connect({e.body.addresses.front(), e.body.overlay_port});
      },
      again);
}

} // namespace skald::node
