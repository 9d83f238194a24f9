#include "dht/store/sources.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter refused("skald_store_sources_refused_total", "Nodes that another node names as sources, not taken: there are too many");

} // namespace

void source_sets::add(const node_id& id, partition p, unix_ms now) {
  if (id == self_) return;
  auto& s = sources_[id];
  s.open.set(p);
  s.asked.reset(p);
  s.merged.reset(p);
  s.since = std::max(s.since, now);
}

void source_sets::unite(std::span<const told_source> others, const partition_set& of) {
  for (const auto& told : others) {
    if (told.id == self_) continue;
    auto fresh = told.open & of;
    const auto found = sources_.find(told.id);
    if (found != sources_.end()) fresh -= found->second.merged;
    if (fresh.none()) continue;
    if (found == sources_.end() && sources_.size() >= sources_max) {
      refused.add();
      continue;
    }
    auto& s = sources_[told.id];
    s.open |= fresh;
    s.asked -= fresh;
    s.since = std::max(s.since, told.since);
  }
}

void source_sets::stamp_changed() {
  for (auto& [id, s] : sources_) s.merged = {};
  drop_empty();
}

const partition_set* source_sets::open(const node_id& id) const {
  const auto found = sources_.find(id);
  return found == sources_.end() || found->second.open.none() ? nullptr : &found->second.open;
}

void source_sets::asked(const node_id& id, const partition_set& of) {
  const auto found = sources_.find(id);
  if (found != sources_.end()) found->second.asked |= found->second.open & of;
}

void source_sets::strike(const node_id& id, const partition_set& of, bool same_stamp) {
  if (same_stamp && id != self_) {
    auto& s = sources_[id];
    const auto again = s.open - s.asked; // added since the merge began: not merged with
    s.merged |= of - again;
  }
  const auto found = sources_.find(id);
  if (found == sources_.end()) return;
  auto& s = found->second;
  const auto struck = s.asked & of;
  s.open -= struck;
  s.asked -= of;
}

void source_sets::forget(const node_id& id) { sources_.erase(id); }

void source_sets::forget(const partition_set& of, const std::function<bool(const node_id&)>& which) {
  for (auto& [id, s] : sources_) {
    if (!which(id)) continue;
    s.open -= of;
    s.asked -= of;
  }
  drop_empty();
}

void source_sets::drop_empty() {
  std::erase_if(sources_, [](const auto& s) { return s.second.open.none() && s.second.merged.none(); });
}

std::vector<node_id> source_sets::of(partition p) const {
  std::vector<node_id> out;
  for (const auto& [id, s] : sources_)
    if (s.open.test(p)) out.push_back(id);
  return out;
}

std::vector<told_source> source_sets::all() const {
  std::vector<told_source> out;
  for (const auto& [id, s] : sources_)
    if (!s.open.none()) out.push_back({id, s.since, s.open});
  return out;
}

std::vector<told_source> source_sets::within(const partition_set& of) const {
  auto out = all();
  for (auto& s : out) s.open &= of;
  std::erase_if(out, [](const told_source& s) { return s.open.none(); });
  return out;
}

void behind_marks::mark(const node_id& id, partition p) {
  auto& c = copies_[id];
  c.open.set(p);
  c.asked.reset(p);
}

void behind_marks::asked(const node_id& id, const partition_set& of) {
  const auto found = copies_.find(id);
  if (found != copies_.end()) found->second.asked = found->second.open & of;
}

void behind_marks::asked_more(const node_id& id, const partition_set& of) {
  const auto found = copies_.find(id);
  if (found != copies_.end()) found->second.asked |= found->second.open & of;
}

void behind_marks::confirmed(const node_id& id) {
  const auto found = copies_.find(id);
  if (found == copies_.end()) return;
  found->second.open -= found->second.asked;
  found->second.asked = {};
  if (found->second.open.none()) copies_.erase(found);
}

void behind_marks::keep_only(const std::function<bool(const node_id&, partition)>& listed) {
  for (auto& [id, c] : copies_) {
    partition_set gone;
    c.open.for_each([&, &copy = id](partition p) {
      if (!listed(copy, p)) gone.set(p);
    });
    c.open -= gone;
    c.asked -= gone;
  }
  std::erase_if(copies_, [](const auto& c) { return c.second.open.none(); });
}

const partition_set* behind_marks::of(const node_id& id) const {
  const auto found = copies_.find(id);
  return found == copies_.end() ? nullptr : &found->second.open;
}

bool behind_marks::any_in(const partition_set& of) const {
  return std::ranges::any_of(copies_, [&](const auto& c) { return !(c.second.open & of).none(); });
}

std::vector<node_id> behind_marks::copies() const {
  std::vector<node_id> out;
  for (const auto& [id, c] : copies_) out.push_back(id);
  return out;
}

std::size_t behind_marks::count() const {
  partition_set all;
  for (const auto& [id, c] : copies_) all |= c.open;
  return all.count();
}

} // namespace skald::dht
