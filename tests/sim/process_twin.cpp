// process: the same bundle, started twice (consistency.md §7): what node/cluster/cluster_twin.cpp and the mesh below it do. Which of
// them stays is the production rule.
#include "dht/link/channel.hpp"
#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr duration twin_patience = seconds(1); // dht/mesh: for the other to say who it is
constexpr char claim_mark = '\x7f';            // before a claim, which in production is the first record of a session

} // namespace

node::twin_claim process::own_claim() const { return {life_ && life_->was_active(), born_, twin_nonce_, body_.version}; }

void process::on_contested(std::uint64_t body_version) {
  foreign_version_ = std::max(foreign_version_, body_version);
  on_body_wanted(id(), body_version);
}

void process::take_own_record(const dht::member_body& body) {
  if (body.version >= first_version_ && body.version <= body_.version) return;
  foreign_version_ = std::max(foreign_version_, body.version);
  const auto there = home_.machine_at(body.addresses.front());
  if (there && *there != on_.spec.number) {
    mesh_->connect(*there); // meet_twin follows, or nobody is there
    timers_.at(on_.now() + dht::contest_patience, [this] { outdo(); });
    return;
  }
  membership_->contest_over(on_.now());
  arm_membership();
  outdo();
}

void process::outdo() {
  if (foreign_version_ >= body_.version) renew_body(foreign_version_);
}

// One id at two addresses: it has moved, or there are two of it. Each is told of the other's address.
void process::doubled(machine_id before, machine_id now) {
  const auto tell = [this](machine_id whom, machine_id of) {
    mesh_->send(whom, std::string{static_cast<char>(dht::frame_type::seen_elsewhere), '\1'} + home_.at(of).spec.ip.text());
  };
  tell(before, now);
  tell(now, before);
}

// ---- two that hold one key have a session

void process::meet_twin(machine_id at) {
  mesh_->send(at, std::string(1, claim_mark) + own_claim().encode());
  const auto number = twins_met_[at] = ++tries_;
  timers_.at(on_.now() + twin_patience, [this, at, number] {
    const auto waits = twins_met_.find(at);
    if (waits != twins_met_.end() && waits->second == number) on_twin(at, {});
  });
}

void process::on_claim(machine_id at, std::string_view told) {
  if (told.empty() || told.front() != claim_mark || !twins_met_.contains(at)) return;
  mesh_->send(at, std::string(1, claim_mark) + own_claim().encode()); // again: the first may be lost
  on_twin(at, told.substr(1));
}

void process::on_twin(machine_id at, std::string_view told) {
  twins_met_.erase(at);
  mesh_->drop(at);
  const auto theirs = node::read_twin_claim(told);
  if (node::stays(own_claim(), theirs)) {
    home_.time.note("{} goes on; another process has its bundle, on {}", on_.spec.name, home_.at(at).spec.name);
    if (theirs) foreign_version_ = std::max(foreign_version_, theirs->version);
    membership_->contest_over(on_.now());
    outdo();
    arm_membership();
    return;
  }
  home_.time.after(duration{0}, [this, alive = std::weak_ptr<int>(alive_), at] {
    if (alive.expired()) return;
    home_.time.note("{} stops: its bundle is in use on {}", on_.spec.name, home_.at(at).spec.name);
    ++home_.happened["twins stopped"];
    home_.end_for_good(on_.spec.number);
  });
}

void process::renew_body(std::uint64_t above) {
  body_.version = std::max({static_cast<std::uint64_t>(on_.wall()), body_.version + 1, above + 1});
  records_[id()] = body_;
  membership_->set_body(body_, on_.now());
  for (const machine_id p : mesh_->peers()) send_record(p, id());
  arm_membership();
  life_->remember();
}

} // namespace skald::sim
