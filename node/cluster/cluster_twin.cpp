// cluster_unit: the same bundle, started twice (consistency.md §7). Whoever hears of a life of its own id that it did not
// begin makes a handshake where that one is. If it is answered by its own key, both tell each other who they are, and one
// stops, without leaving: the other lives on in its name.
#include "base/log.hpp"
#include "node/cluster/cluster_unit.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::node {

twin_claim cluster_unit::own_claim() const { return {life_ && life_->was_active(), born_, twin_nonce_, config_.body.version}; }

void cluster_unit::on_contested(std::uint64_t body_version) {
  log::debug("membership", fmt::format("another life of this node's id, body version {}", body_version));
  foreign_version_ = std::max(foreign_version_, body_version);
  on_body_wanted(config_.bundle->id, body_version);
}

// A record of this node's id that this process did not write: of its predecessor, if it names our own address.
void cluster_unit::take_own_entry(const dht::directory_entry& e) {
  if (e.body.version >= first_version_ && e.body.version <= config_.body.version) return;
  foreign_version_ = std::max(foreign_version_, e.body.version);
  const endpoint there{e.body.addresses.front(), e.body.overlay_port};
  if (is_own(there)) {
    membership_->contest_over(clock_.now());
    arm_membership();
    outdo();
  } else {
    mesh_->connect(there); // on_twin follows, or nobody is there
    events_.timers().at(events_.now() + dht::contest_patience, [this] { outdo(); });
  }
}

// Whoever holds a newer record of this id believes no older one.
void cluster_unit::outdo() {
  if (foreign_version_ >= config_.body.version) renew_body(foreign_version_);
}

bool cluster_unit::is_own(const endpoint& at) const {
  return at.port == config_.node.overlay_port &&
         (std::ranges::find(config_.addresses, at.ip) != config_.addresses.end() || at.ip == config_.body.addresses.front());
}

// A third node meets one id at two addresses. It has moved, or there are two of it: each is told where the other one is,
// since what others send to that id reaches but one of them.
void cluster_unit::on_doubled(const endpoint& before, const endpoint& now) {
  const auto tell = [this](const endpoint& whom, const endpoint& of) {
    mesh_->send_gossip_at(whom, std::string{static_cast<char>(dht::frame_type::seen_elsewhere), '\1'} + of.text());
  };
  tell(before, now);
  tell(now, before);
}

void cluster_unit::on_seen_elsewhere(std::string_view text) {
  const auto at = endpoint::parse(text);
  if (at && !is_own(*at)) mesh_->connect(*at); // on_twin follows, or nobody is there
}

void cluster_unit::on_twin(const endpoint& at, std::string_view told) {
  const auto theirs = read_twin_claim(told);
  if (stays(own_claim(), theirs)) {
    log::error("membership", fmt::format("another process runs with this node's bundle at {}; it is to stop, this one goes on", at.text()));
    if (theirs) foreign_version_ = std::max(foreign_version_, theirs->version);
    membership_->contest_over(clock_.now());
    outdo();
    arm_membership();
    return;
  }
  log::error("membership", fmt::format("another process runs with this node's bundle at {}, and was there first; this one stops, and does not leave "
                                       "the cluster: the other goes on in its name. Issue a bundle of its own for this machine: skald cert issue NAME",
                                       at.text()));
  if (stop_asked) stop_asked();
}

} // namespace skald::node
