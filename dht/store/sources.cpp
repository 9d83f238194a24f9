#include "dht/store/sources.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter refused("skald_store_sources_refused_total", "Nodes that another node names as sources, not taken: there are too many");

} // namespace

source_sets::word& source_sets::source::at(std::size_t index) {
  const auto wanted = static_cast<std::uint16_t>(index);
  if (words.empty() || words.back().index < wanted) return words.emplace_back(word{wanted}); // mostly so: partitions come in order
  const auto found = std::ranges::lower_bound(words, wanted, {}, &word::index);
  return found->index == wanted ? *found : *words.insert(found, word{wanted});
}

void source_sets::add(const node_id& id, partition p, unix_ms now) {
  if (id == self_) return;
  auto& s = sources_[id];
  auto& w = s.at(partition_set::word(p));
  const auto bit = std::uint64_t{1} << partition_set::bit(p);
  w.open |= bit;
  w.asked &= ~bit;
  w.merged &= ~bit;
  w.guessed &= ~bit;
  s.since = std::max(s.since, now);
}

void source_sets::suspect(const node_id& id, const partition_set& of, unix_ms now) {
  if (id == self_ || of.none()) return;
  auto& s = sources_[id];
  for (std::size_t i = 0; i < of.words.size(); ++i) {
    if (of.words[i] == 0) continue;
    auto& w = s.at(i);
    w.guessed |= of.words[i] & ~w.open;
    w.open |= of.words[i];
    w.asked &= ~of.words[i];
    w.merged &= ~of.words[i];
  }
  s.since = std::max(s.since, now);
}

void source_sets::cleared(const node_id& id) {
  const auto found = sources_.find(id);
  if (found == sources_.end()) return;
  for (auto& w : found->second.words) {
    w.open &= ~w.guessed;
    w.asked &= ~w.guessed;
    w.guessed = 0;
  }
  std::erase_if(found->second.words, [](const word& w) { return w.open == 0 && w.merged == 0; });
}

void source_sets::unite(std::span<const told_source> others, const partition_set& of) {
  for (const auto& told : others) {
    if (told.id == self_) continue;
    auto fresh = told.open & of;
    const auto found = sources_.find(told.id);
    if (found != sources_.end())
      for (const auto& w : found->second.words) fresh.words[w.index] &= ~w.merged;
    if (fresh.none()) continue;
    if (found == sources_.end() && sources_.size() >= sources_max) {
      refused.add();
      continue;
    }
    auto& s = sources_[told.id];
    for (std::size_t i = 0; i < fresh.words.size(); ++i) {
      if (fresh.words[i] == 0) continue;
      auto& w = s.at(i);
      w.open |= fresh.words[i];
      w.asked &= ~fresh.words[i];
      w.guessed &= ~fresh.words[i];
    }
    s.since = std::max(s.since, told.since);
  }
}

void source_sets::stamp_changed() {
  for (auto& [id, s] : sources_)
    for (auto& w : s.words) w.merged = 0;
  drop_empty();
}

std::optional<partition_set> source_sets::open(const node_id& id) const {
  const auto found = sources_.find(id);
  if (found == sources_.end()) return std::nullopt;
  partition_set out;
  for (const auto& w : found->second.words) out.words[w.index] = w.open;
  if (out.none()) return std::nullopt;
  return out;
}

void source_sets::asked(const node_id& id, const partition_set& of) {
  const auto found = sources_.find(id);
  if (found == sources_.end()) return;
  for (auto& w : found->second.words) w.asked |= w.open & of.words[w.index];
}

void source_sets::strike(const node_id& id, const partition_set& of, bool same_stamp) {
  if (same_stamp && id != self_) {
    auto& s = sources_[id];
    for (std::size_t i = 0; i < of.words.size(); ++i) {
      if (of.words[i] == 0) continue;
      auto& w = s.at(i);
      const auto again = w.open & ~w.asked; // added since the merge began: not merged with
      w.merged |= of.words[i] & ~again;
    }
  }
  const auto found = sources_.find(id);
  if (found == sources_.end()) return;
  for (auto& w : found->second.words) {
    w.open &= ~(w.asked & of.words[w.index]);
    w.asked &= ~of.words[w.index];
    w.guessed &= w.open;
  }
}

void source_sets::forget(const node_id& id) { sources_.erase(id); }

void source_sets::forget(const partition_set& of, const std::function<bool(const node_id&)>& which) {
  for (auto& [id, s] : sources_) {
    if (!which(id)) continue;
    for (auto& w : s.words) {
      w.open &= ~of.words[w.index];
      w.asked &= ~of.words[w.index];
      w.guessed &= w.open;
    }
  }
  drop_empty();
}

void source_sets::drop_empty() {
  for (auto& [id, s] : sources_) std::erase_if(s.words, [](const word& w) { return w.open == 0 && w.merged == 0; });
  std::erase_if(sources_, [](const auto& s) { return s.second.words.empty(); });
}

std::vector<node_id> source_sets::of(partition p) const {
  const auto index = static_cast<std::uint16_t>(partition_set::word(p));
  std::vector<node_id> out;
  for (const auto& [id, s] : sources_) {
    const auto w = std::ranges::lower_bound(s.words, index, {}, &word::index);
    if (w != s.words.end() && w->index == index && ((w->open >> partition_set::bit(p)) & 1) != 0) out.push_back(id);
  }
  return out;
}

std::vector<told_source> source_sets::all() const {
  std::vector<told_source> out;
  for (const auto& [id, s] : sources_) {
    if (std::ranges::none_of(s.words, [](const word& w) { return w.open != 0; })) continue;
    auto& told = out.emplace_back(told_source{id, s.since, {}});
    for (const auto& w : s.words) told.open.words[w.index] = w.open;
  }
  return out;
}

std::vector<told_source> source_sets::within(const partition_set& of, bool guessed_too) const {
  const auto in = [&](const word& w) { return w.open & (guessed_too ? ~std::uint64_t{0} : ~w.guessed) & of.words[w.index]; };
  std::vector<told_source> out;
  for (const auto& [id, s] : sources_) {
    if (std::ranges::none_of(s.words, [&](const word& w) { return in(w) != 0; })) continue;
    auto& told = out.emplace_back(told_source{id, s.since, {}});
    for (const auto& w : s.words) told.open.words[w.index] = in(w);
  }
  return out;
}

bool source_sets::open_within(const node_id& id, const partition_set& of) const {
  const auto found = sources_.find(id);
  return found != sources_.end() && std::ranges::any_of(found->second.words, [&](const word& w) { return (w.open & of.words[w.index]) != 0; });
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
