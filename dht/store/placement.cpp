#include "dht/store/placement.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

namespace skald::dht {
namespace {

constexpr std::uint16_t nobody = 0xffff;

// Members of several rings under common numbers, so that lists of different rings compare as integers: a view change
// looks at four lists of each partition.
class numbering {
public:
  using list = std::array<std::uint16_t, copies_default>;

  explicit numbering(std::initializer_list<const ring*> rings) {
    for (const auto* r : rings)
      if (r != nullptr)
        for (const auto& m : r->members()) ids_.push_back(m.id);
    std::ranges::sort(ids_);
    ids_.erase(std::ranges::unique(ids_).begin(), ids_.end());
    for (const auto* r : rings) {
      auto& numbers = of_.emplace_back();
      if (r != nullptr)
        for (const auto& m : r->members()) numbers.emplace(&m.id, number(m.id));
    }
  }
  const std::vector<node_id>& ids() const { return ids_; }
  std::uint16_t number(const node_id& id) const {
    const auto at = std::ranges::lower_bound(ids_, id);
    return at != ids_.end() && *at == id ? static_cast<std::uint16_t>(at - ids_.begin()) : nobody;
  }
  list at(std::size_t which, const ring* r, partition p) const {
    list out{nobody, nobody, nobody};
    if (r == nullptr) return out;
    std::size_t i = 0;
    const ring::list owners = r->at(p); // a range-for keeps no temporary behind span() alive
    for (const auto* id : owners.span()) out[i++] = of_[which].find(id)->second;
    return out;
  }

private:
  std::vector<node_id> ids_;
  std::vector<std::unordered_map<const node_id*, std::uint16_t>> of_; // a ring's ids live as long as it does
};

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
  count_base();
  std::erase_if(sources_, [this](const auto& s) { return !alive(s.first); });
  if (!same_tables || !reborn.empty()) grow_sources(old, reborn);
  recount();
  seen_.store(std::make_shared<const snapshot>(snapshot{rings_, serving_}));
}

void placement::set_base(const dht::base& b) {
  base_ = b;
  count_base();
}

void placement::count_base() {
  std::set<node_id> members;
  for (const auto* r : {rings_.serving.get(), rings_.target.get()})
    if (r != nullptr)
      for (const auto& m : r->members()) members.insert(m.id);
  others_alive_ = members.size() - members.count(self_);
  if (!base_) {
    base_size_ = members.size(); // decision 14
    return;
  }
  const auto holds = [this](const node_id& id) { // not known: counted, which is the careful side
    const auto* m = view_ ? view_->find(id) : nullptr;
    return m == nullptr || m->body.version == 0 || m->body.roles.has(role::registrar);
  };
  base_size_ = static_cast<std::size_t>(std::ranges::count_if(base_.members, holds));
}

// consistency.md §4: when a node's lists for a partition change, its sources grow by all members of the old and the new
// lists, itself excepted. A node that returned is a source too, and for one that itself returned all others are.
void placement::grow_sources(const ring_pair& old, const std::vector<node_id>& reborn) {
  const std::array<const ring*, 4> rings{old.serving.get(), old.target.get(), rings_.serving.get(), rings_.target.get()};
  const numbering names{rings[0], rings[1], rings[2], rings[3]};
  const auto me = names.number(self_);
  const bool self_reborn = std::ranges::find(reborn, self_) != reborn.end();
  std::vector<source*> living(names.ids().size(), nullptr);
  std::vector<char> returned(names.ids().size(), 0);
  for (std::size_t i = 0; i < living.size(); ++i) {
    const auto& id = names.ids()[i];
    if (alive(id) && id != self_) living[i] = &sources_[id];
    returned[i] = std::ranges::find(reborn, id) != reborn.end();
  }
  for (std::uint32_t i = 0; i < partition_count; ++i) {
    const partition p{static_cast<std::uint16_t>(i)};
    std::array<numbering::list, 4> lists;
    for (std::size_t each = 0; each < lists.size(); ++each) lists[each] = names.at(each, rings[each], p);
    bool listed = false, changed = self_reborn || lists[0] != lists[2] || lists[1] != lists[3];
    for (const auto& l : {lists[2], lists[3]})
      for (const auto n : l) {
        listed = listed || (n == me && n != nobody);
        changed = changed || (n != nobody && returned[n]);
      }
    if (!listed) {
      for (auto& [id, s] : sources_) s.open.reset(p);
      continue;
    }
    if (!changed) continue;
    for (const auto& l : lists)
      for (const auto n : l) {
        if (n == nobody || living[n] == nullptr) continue;
        living[n]->open.set(p);
        living[n]->asked.reset(p);
      }
  }
  std::erase_if(sources_, [](const auto& s) { return s.second.open.none(); });
}

void placement::recount() {
  for (std::size_t word = 0; word < unsettled_.size(); ++word) {
    std::uint64_t bits = 0;
    for (const auto& [id, s] : sources_) bits |= s.open.words[word];
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
  for (std::uint32_t i = 0; i < partition_count; ++i)
    if (const partition p{static_cast<std::uint16_t>(i)}; s.open.test(p)) out.push_back(p);
  return out;
}

void placement::strike(const node_id& source, partition p) {
  const auto found = sources_.find(source);
  if (found == sources_.end() || !found->second.asked.test(p)) return;
  found->second.asked.reset(p);
  found->second.open.reset(p);
  if (std::ranges::any_of(sources_, [p](const auto& s) { return s.second.open.test(p); })) return;
  const auto i = std::to_underlying(p);
  unsettled_[i / 64].fetch_and(~(std::uint64_t{1} << (i % 64)), std::memory_order_acq_rel);
}

void placement::forget_struck() {
  std::erase_if(sources_, [](const auto& s) { return s.second.open.none(); });
}

std::vector<node_id> placement::sources(partition p) const {
  std::vector<node_id> out;
  for (const auto& [id, s] : sources_)
    if (s.open.test(p)) out.push_back(id);
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
    const ring::list owners = rings_.target->at(p);
    for (const auto* id : owners.span())
      if (*id != self_) out.insert(*id);
  }
  return out;
}

std::size_t placement::needed(partition p, std::size_t min_copies) const {
  if (base_size_ >= 3) return std::min(min_copies, base_size_ - 1);
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
