// cluster_unit: what this node sees of itself, twice a second: its own clock (consistency.md §5), whether it is half dead
// (cluster_life), and which roles it is to claim.
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "node/cluster/cluster_unit.hpp"

#include <fmt/format.h>

namespace skald::node {
namespace {

metrics::gauge deviation_ms("skald_clock_deviation_ms", "This node's own clock against the median of the members' clocks");

} // namespace

void cluster_unit::watch_tick() {
  judge_clock();
  life_->judge_health();
  judge_roles();
  events_.timers().at(events_.now() + watch_period, [this] { watch_tick(); });
}

void cluster_unit::judge_clock() {
  const milliseconds off = membership_->time().deviation();
  deviation_ms.set(off.count());
  const bool wrong = off > dht::cluster_clock::deviation_worth_telling || off < -dht::cluster_clock::deviation_worth_telling;
  if (wrong == clock_wrong_) return;
  clock_wrong_ = wrong;
  if (wrong) log::warning("clock", fmt::format("this machine's clock is {} ms from the median of the members' clocks, which is used instead; mend its time (NTP)", off.count()));
  else log::info("clock", "this machine's clock agrees with the members' again");
}

// ---- roles

void cluster_unit::judge_roles() {
  if (!config_.auto_roles || !view() || life_->leaving() || life_->draining() || !life_->half_dead().empty()) return;
  const auto stored = shared_->stored().find("roles.min");
  const auto wanted = read_role_minimums(stored != shared_->stored().end() ? stored->second : std::string(role_minimums_default));
  if (!wanted) return; // skald set checks it
  dht::role_set more = choice_.more(*view(), permitted(), config_.body.roles, *wanted, events_.now());
  if (more == dht::role_set{}) return;
  more.bits = static_cast<std::uint16_t>(more.bits | config_.body.roles.bits);
  change_roles(more);
}

void cluster_unit::set_roles(dht::role_set roles) {
  config_.auto_roles = false;
  change_roles(roles);
}

void cluster_unit::change_roles(dht::role_set roles) {
  if (prepare_roles) roles = prepare_roles(roles);
  if (roles == config_.body.roles) return;
  config_.body.roles = roles;
  log::info("membership", fmt::format("roles now: {}", fmt::join(dht::names(roles), ",")));
  renew_body(0);
}

void cluster_unit::set_overloaded(bool is) {
  if (is == config_.body.overloaded) return;
  config_.body.overloaded = is;
  if (is) log::warning("overload", "too much is turned away: this node leaves the SRV records until it is at ease");
  else log::info("overload", "nobody was turned away for a while: this node is back in the SRV records");
  renew_body(0);
}

} // namespace skald::node
