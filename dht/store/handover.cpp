#include "dht/store/handover.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter dropped("skald_store_partitions_dropped_total", "Partitions dropped: this node is not listed for them any more");

constexpr seconds look_period{1};
constexpr std::size_t dropped_per_tick = 256; // partitions

} // namespace

void handover::on_view(bool lists_changed) {
  if (lists_changed) {
    unlisted_.reset(); // those who have it now have to say so again
    offer_unlisted();
  }
  dropping_ -= c_.where.listed();
  std::erase_if(settled_, [this](const auto& s) { return s.second != c_.where.stamp(); });
  const auto* me = c_.where.current()->find(c_.self);
  const bool now = me != nullptr && me->state == member_state::draining;
  if (now && !draining_) {
    settled_.clear();
    merged_.clear();
    heirs_ = c_.where.heirs();
  }
  draining_ = now;
}

// In the smaller part of a cut a node may hold, and have acknowledged, what it is listed for in no view of all: after
// healing none of those who are listed saw its lists, so none takes it for a source. It asks them to merge with it. Of
// what not all had taken when the lists changed, it asks the new ones too.
void handover::offer_unlisted() {
  const auto held = c_.tables.partitions() - c_.where.listed();
  auto taken = held & offered_;
  for (const auto& n : c_.behind.copies()) taken -= *c_.behind.of(n);
  (held - taken).for_each([&](partition p) {
    for (const auto& n : c_.where.others(p)) c_.behind.mark(n.id, p);
  });
  offered_ = held;
}

void handover::on_state(const node_id& from, const store_state& m) {
  if (m.stamp != c_.where.stamp() && c_.hooks.view_differs) c_.hooks.view_differs(from, m.stamp);
  if (m.question) {
    c_.send(from, store_state{false, c_.where.stamp(), c_.where.current() && c_.where.settled()}.encode());
    return;
  }
  if (m.settled && m.stamp == c_.where.stamp()) settled_.insert_or_assign(from, m.stamp);
}

void handover::on_merged(const node_id& from) {
  if (draining_ && !c_.where.compares(from)) merged_.insert(from);
}

void handover::ask(const std::set<node_id>& nodes) {
  for (const auto& n : nodes)
    if (c_.where.alive(n) && !settled_.contains(n)) c_.send(n, store_state{true, c_.where.stamp(), false}.encode());
}

bool handover::confirmed(const std::set<node_id>& nodes) const {
  return std::ranges::all_of(nodes, [&](const node_id& n) { return settled_.contains(n) || merged_.contains(n) || !c_.where.alive(n); });
}

bool handover::handed_over() const {
  return draining_ && confirmed(heirs_) && writes_.writing() == 0 && writes_.copying() == 0 && c_.behind.none();
}

void handover::tick() {
  if (!c_.where.current()) return;
  if (draining_) ask(heirs_);
  drop_some();
  if (c_.ports.time->now() - looked_ < look_period) return;
  looked_ = c_.ports.time->now();
  look_for_unlisted();
}

void handover::look_for_unlisted() {
  if (!c_.where.settled() || c_.where.joining()) return;
  const auto candidates = c_.tables.partitions() - c_.where.listed();
  if (unlisted_) {
    unlisted_->parts &= candidates;
    if (c_.ports.time->now() < unlisted_->due) return;
    dropping_ = unlisted_->parts;
    unlisted_.reset();
    return;
  }
  const auto fresh = candidates - dropping_;
  if (fresh.none()) return;
  std::set<node_id> holders;
  bool nobody = false;
  fresh.for_each([&](partition p) {
    const auto listed = c_.where.others(p);
    nobody = nobody || listed.empty();
    for (const auto& n : listed) holders.insert(n.id);
  });
  if (nobody) return;
  ask(holders);
  if (confirmed(holders) && writes_.copying() == 0 && !c_.behind.any_in(fresh)) unlisted_ = batch{fresh, c_.ports.time->now() + c_.config.drop_after};
}

// In steps, so that the loop does not stand still.
void handover::drop_some() {
  if (dropping_.none()) return;
  partition_set step;
  std::size_t n = 0;
  dropping_.for_each([&](partition p) {
    if (n++ < dropped_per_tick) step.set(p);
  });
  if (const auto erased = c_.disk.erase(step); !erased) {
    log::error("store", erased.error().what);
    return;
  }
  step.for_each([&](partition p) {
    c_.tables.erase(p);
    dropped.add();
  });
  c_.where.unlist(step);
  dropping_ -= step;
}

} // namespace skald::dht
