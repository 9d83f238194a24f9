// cluster_unit: what this node sees of itself, twice a second: its own clock (consistency.md §5), and whether it is half
// dead (§7): it cannot write its disk, or cannot open links to members that the mesh hears. Then it steps back, first as
// draining, so that nothing new comes; and as joining when its heirs have what it held, out of the rings until it is well.
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "node/cluster_unit.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::node {
namespace {

metrics::gauge deviation_ms("skald_clock_deviation_ms", "This node's own clock against the median of the members' clocks");
metrics::gauge half_dead_now("skald_cluster_half_dead", "1 while this node has stepped back: its disk or its links do not work");

bool another_is_active(const dht::view& v) {
  return std::ranges::any_of(v.members, [&](const dht::member& m) { return m.id != v.self && m.state == dht::member_state::active; });
}

} // namespace

void cluster_unit::watch_tick() {
  judge_clock();
  judge_health();
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

// What is wrong now; empty: nothing.
std::string cluster_unit::trouble() const {
  if (!store_->disk_ok()) return "it cannot write its disk";
  std::size_t heard = 0, unreachable = 0;
  const dht::view_ptr v = view();
  for (const dht::member& m : v->members) {
    if (m.id == v->self || !m.alive() || m.suspect || !mesh_->has_session(m.id)) continue;
    ++heard;
    links_->call_again(m.id);
    unreachable += links_->failing(m.id) ? 1 : 0;
  }
  if (unreachable < 2 || 2 * unreachable <= heard) return {};
  return fmt::format("it cannot open links to {} of {} members that it hears", unreachable, heard);
}

void cluster_unit::judge_health() {
  if (!view() || life_->leaving()) return;
  const std::string why = trouble();
  const mono_time now = events_.now();
  if (why.empty()) {
    trouble_since_ = {};
    if (life_->half_dead().empty()) return;
    if (healthy_since_ == mono_time{}) healthy_since_ = now;
    if (now - healthy_since_ < well_after) return;
    half_dead_now.set(0);
    return life_->come_back();
  }
  healthy_since_ = {};
  if (trouble_since_ == mono_time{}) trouble_since_ = now;
  if (life_->half_dead().empty()) {
    // With nobody to take over, going on with what works is better than stepping back.
    if (now - trouble_since_ >= trouble_lasts && membership_->state() == dht::member_state::active && another_is_active(*view())) {
      half_dead_now.set(1);
      stepped_back_ = now;
      life_->step_back(why);
    }
    return;
  }
  const bool handed = store_->handed_over() || now - stepped_back_ > step_back_patience;
  if (handed && another_is_active(*view())) life_->wait_as_joining();
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

} // namespace skald::node
