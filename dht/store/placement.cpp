#include "dht/store/placement.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace skald::dht {
namespace {

bool same(const ring::list& a, const ring::list& b) {
  return std::ranges::equal(a.span(), b.span(), [](const node_id* x, const node_id* y) { return *x == *y; });
}

// The four lists of one partition around a view change.
struct lists {
  ring::list old_serving, old_target, serving, target;

  bool changed() const { return !same(old_serving, serving) || !same(old_target, target); }
  template <class F>
  void each(F&& f) const {
    for (const auto* l : {&old_serving, &old_target, &serving, &target})
      for (const auto* id : l->span()) f(*id);
  }
  bool names(const std::vector<node_id>& any) const {
    return std::ranges::any_of(any, [&](const node_id& n) { return serving.has(n) || target.has(n); });
  }
};

ring::list list_of(const ring_ptr& r, partition p) { return r ? r->at(p) : ring::list{}; }

// Members that died and came back between two views, without a view in which they were dead.
std::vector<node_id> reborn_between(const view* old, const view& now) {
  std::vector<node_id> out;
  if (old == nullptr) return out;
  for (const auto& m : now.members) {
    const auto* before = old->find(m.id);
    if (before != nullptr && m.alive() && (before->life != m.life || !before->alive())) out.push_back(m.id);
  }
  return out;
}

} // namespace

void placement::set(view_ptr v, ring_pair rings) {
  SKALD_ASSERT(v && rings.serving && rings.target);
  const auto reborn = reborn_between(view_.get(), *v);
  const bool same_tables = rings_.serving == rings.serving && rings_.target == rings.target;
  const auto old = std::exchange(rings_, std::move(rings));
  view_ = std::move(v);

  const auto* me = view_->find(self_);
  serving_ = me != nullptr && me->serving();
  std::set<node_id> members;
  for (const auto& m : rings_.serving->members()) members.insert(m.id);
  for (const auto& m : rings_.target->members()) members.insert(m.id);
  base_ = members.size();

  std::erase_if(sources_, [this](const auto& s) { return !alive(s.first); });
  if (!same_tables || !reborn.empty()) grow_sources(old, reborn);
  recount();
  seen_.store(std::make_shared<const snapshot>(snapshot{rings_, serving_}));
}

// consistency.md §4: when a node's lists for a partition change, its sources grow by all members of the old and the new
// lists, itself excepted. A node that returned is a source too, and for one that itself returned all others are.
void placement::grow_sources(const ring_pair& old, const std::vector<node_id>& reborn) {
  const bool self_reborn = std::ranges::find(reborn, self_) != reborn.end();
  std::set<node_id> living;
  for (const auto& m : view_->members)
    if (m.alive() && m.id != self_) living.insert(m.id);
  for (std::uint32_t i = 0; i < partition_count; ++i) {
    const partition p{static_cast<std::uint16_t>(i)};
    const lists l{list_of(old.serving, p), list_of(old.target, p), rings_.serving->at(p), rings_.target->at(p)};
    if (!l.serving.has(self_) && !l.target.has(self_)) {
      unlist(p);
      continue;
    }
    if (!self_reborn && !l.changed() && (reborn.empty() || !l.names(reborn))) continue;
    l.each([&](const node_id& id) {
      if (!living.contains(id)) return;
      auto& s = sources_[id];
      s.open.set(i);
      s.asked.reset(i);
    });
  }
  std::erase_if(sources_, [](const auto& s) { return s.second.open.none(); });
}

void placement::unlist(partition p) {
  for (auto& [id, s] : sources_) s.open.reset(std::to_underlying(p));
}

void placement::recount() {
  for (std::size_t word = 0; word < unsettled_.size(); ++word) {
    std::uint64_t bits = 0;
    for (const auto& [id, s] : sources_)
      for (std::size_t bit = 0; bit < 64; ++bit)
        if (s.open.test(word * 64 + bit)) bits |= std::uint64_t{1} << bit;
    unsettled_[word].store(bits, std::memory_order_release);
  }
}

bool placement::unsettled_test(partition p) const {
  const auto i = std::to_underlying(p);
  return ((unsettled_[i / 64].load(std::memory_order_acquire) >> (i % 64)) & 1) != 0;
}

std::vector<partition> placement::ask(const node_id& source) {
  std::vector<partition> out;
  const auto found = sources_.find(source);
  if (found == sources_.end()) return out;
  auto& s = found->second;
  s.asked = s.open;
  out.reserve(s.open.count());
  for (std::uint32_t i = 0; i < partition_count; ++i)
    if (s.open.test(i)) out.push_back(partition{static_cast<std::uint16_t>(i)});
  return out;
}

void placement::strike(const node_id& source, partition p) {
  const auto i = std::to_underlying(p);
  const auto found = sources_.find(source);
  if (found == sources_.end() || !found->second.asked.test(i)) return;
  found->second.asked.reset(i);
  found->second.open.reset(i);
  const bool others = std::ranges::any_of(sources_, [i](const auto& s) { return s.second.open.test(i); });
  if (!others) unsettled_[i / 64].fetch_and(~(std::uint64_t{1} << (i % 64)), std::memory_order_acq_rel);
}

void placement::forget_struck() {
  std::erase_if(sources_, [](const auto& s) { return s.second.open.none(); });
}

std::vector<node_id> placement::sources(partition p) const {
  std::vector<node_id> out;
  for (const auto& [id, s] : sources_)
    if (s.open.test(std::to_underlying(p))) out.push_back(id);
  return out;
}

std::vector<node_id> placement::sources() const {
  std::vector<node_id> out;
  for (const auto& [id, s] : sources_) out.push_back(id);
  return out;
}

std::size_t placement::unsettled_count() const {
  std::size_t n = 0;
  for (const auto& word : unsettled_) n += static_cast<std::size_t>(__builtin_popcountll(word.load()));
  return n;
}

bool placement::alive(const node_id& id) const {
  const auto* m = view_ ? view_->find(id) : nullptr;
  return m != nullptr && m->alive();
}

bool placement::joining() const {
  const auto* m = view_ ? view_->find(self_) : nullptr;
  return m != nullptr && m->state == member_state::joining;
}

const node_id* placement::owner(const ring_key& k) const { return rings_.serving ? rings_.serving->owner(k) : nullptr; }

std::vector<listed_node> placement::others(partition p) const {
  std::vector<listed_node> out;
  const auto* me = view_ ? view_->find(self_) : nullptr;
  const auto add = [&](const ring::list& l, bool in_serving) {
    for (const auto* id : l.span()) {
      if (*id == self_ || std::ranges::find(out, *id, &listed_node::id) != out.end()) continue;
      const auto* m = view_->find(*id);
      if (m == nullptr || !m->alive()) continue;
      out.push_back({*id, in_serving, m->suspect, me != nullptr && m->body.zone != me->body.zone});
    }
  };
  if (rings_.serving) add(rings_.serving->at(p), true);
  if (rings_.target) add(rings_.target->at(p), false);
  return out;
}

std::set<node_id> placement::heirs() const {
  std::set<node_id> out;
  for (std::uint32_t i = 0; i < partition_count; ++i) {
    const partition p{static_cast<std::uint16_t>(i)};
    if (!rings_.serving->at(p).has(self_)) continue;
    for (const auto* id : rings_.target->at(p).span())
      if (*id != self_) out.insert(*id);
  }
  return out;
}

std::size_t placement::needed(partition p, std::size_t min_copies) const {
  if (base_ >= 3) return std::min(min_copies, base_ - 1);
  return std::min(min_copies, 1 + others(p).size());
}

bool placement::owner_here(const ring_key& k) const {
  const auto s = seen_.load();
  if (!s || !s->active) return false;
  const auto* owner = s->rings.serving->owner(k);
  return owner != nullptr && *owner == self_;
}

bool placement::answers_for(const ring_key& k) const {
  const auto s = seen_.load();
  if (!s || !s->active || unsettled_test(partition_of(k))) return false;
  return s->rings.serving->at(k).has(self_);
}

} // namespace skald::dht
