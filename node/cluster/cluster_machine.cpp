// cluster_unit: what this node's life (cluster_life.hpp) asks of the machine: rings, seeds, links, facts for the workers, and
// what is remembered for the next start.
#include "base/log.hpp"
#include "node/cluster/cluster_unit.hpp"
#include "node/disk/state_dir.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

void cluster_unit::on_view(dht::view_ptr v) {
  if (!life_) return; // the first one is handed over when all is there
  life_->on_view(v);
  for (auto it = records_.begin(); it != records_.end();) // records of the forgotten go
    it = v->find(it->first) != nullptr || it->first == config_.bundle->id ? std::next(it) : records_.erase(it);
  std::erase_if(versions_, [&](const auto& known) { return v->find(known.first) == nullptr; });
}

void cluster_unit::on_self_removed(std::uint64_t new_life, duration joining_for) {
  outdo();
  life_->on_self_removed(new_life, joining_for);
}

void cluster_unit::on_stale(bool stale) { life_->on_stale(stale); }

void cluster_unit::on_base(const dht::base& b) { life_->on_base(b); }

// ---- what life asks for

dht::ring_pair cluster_unit::rings_for(const dht::view& v) {
  rings_.update(v);
  return rings_.of(dht::role::registrar);
}

void cluster_unit::look_for_seeds(bool again) {
  if (!seeds_ || again) {
    std::vector<std::string> seeds = config_.node.seeds;
    if (seeds.empty()) seeds = config_.bundle->seeds;
    seeds_ = std::make_unique<seed_finder>(dns_, std::move(seeds), remembered_peers_, config_.bundle->domain);
  }
  seeds_->look([this](const endpoint& e) {
    const bool self = e.port == config_.node.overlay_port && std::ranges::find(config_.addresses, e.ip) != config_.addresses.end();
    if (!self) mesh_->connect(e);
  });
}

std::string cluster_unit::seeds_asked() const { return seeds_ ? fmt::format("{}", fmt::join(seeds_->seeds(), ", ")) : std::string{}; }

std::vector<node_id> cluster_unit::mesh_peer_ids() const {
  std::vector<node_id> out;
  for (const dht::mesh_peer& p : mesh_->peers()) out.push_back(p.id);
  return out;
}

bool cluster_unit::links_fail(const node_id& id) {
  links_->call_again(id);
  return links_->failing(id);
}

void cluster_unit::facts_changed(roles::facts_ptr f, bool keeper) {
  shared_->set_duty(keeper);
  if (shared_->loaded()) set_profile(f->config->profile);
  facts_.store(std::move(f));
  changed_();
}

void cluster_unit::set_profile(const std::string& name) {
  if (name == profile_) return;
  profile_ = name;
  membership_->set_timing(name == "wan" ? dht::wan_profile() : dht::lan_profile(), clock_.now());
  log::info("membership", "the profile is " + name);
  life_->remember();
}

// ---- memory

void cluster_unit::stop() {
  if (view()) write_memory(); // now: no timer runs any more
  directory_.reset();
}

void cluster_unit::write_memory() {
  nlohmann::json peers = nlohmann::json::array();
  for (const dht::member& m : view()->members)
    if (m.id != view()->self && m.alive() && !m.body.addresses.empty() && peers.size() < seeds_max)
      peers.push_back(endpoint{m.body.addresses.front(), m.body.overlay_port}.text());
  if (!peers.empty()) {
    remembered_peers_.clear();
    for (const auto& p : peers) remembered_peers_.push_back(*endpoint::parse(p.get<std::string>()));
  }
  nlohmann::json kept = nlohmann::json::array();
  for (const endpoint& e : remembered_peers_) kept.push_back(e.text());
  nlohmann::json based = nlohmann::json::array();
  for (const node_id& id : life_->base()->members) based.push_back(id.hex());
  const nlohmann::json out{{"life", membership_->life()}, {"version", config_.body.version}, {"base", {{"epoch", life_->base()->epoch}, {"members", based}}}, {"peers", kept}, {"profile", profile_}};
  if (const auto written = write_file(config_.state_dir + "/cluster.json", out.dump()); !written) log::error("state", written.error().what);
}

} // namespace skald::node
