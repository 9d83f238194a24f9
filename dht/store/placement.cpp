#include "dht/store/placement.hpp"

#include "dht/link/messages.hpp"
#include "dht/store/list_rows.hpp"
#include "dht/store/tables.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace skald::dht {
namespace {

// After this a dead source has nothing volatile any more that would still be valid.
milliseconds longest_volatile_grant() {
  milliseconds longest{0};
  for (const auto t : all_tables)
    if (!is_durable(t)) longest = std::max(longest, longest_grant(t));
  return longest;
}

ring_ptr without(const ring& r, const node_id& id) {
  std::vector<ring_member> members(r.members().begin(), r.members().end());
  if (std::erase_if(members, [&](const ring_member& m) { return m.id == id; }) == 0) return nullptr;
  return ring::build(std::move(members), &r);
}

} // namespace

bool placement::set(view_ptr v, ring_pair rings, unix_ms now) {
  SKALD_ASSERT(v && rings.serving && rings.target);
  // Returned: seen dead, or not at all, and alive now. Risen: alive before and now, as another incarnation or life:
  // a death that was missed, its own too when it refuted.
  std::set<node_id> returned, risen;
  for (const auto& m : v->members) {
    const auto* before = view_ ? view_->find(m.id) : nullptr;
    if (before == nullptr || !m.alive()) continue;
    if (!before->alive()) returned.insert(m.id);
    else if (before->life != m.life || before->incarnation != m.incarnation) risen.insert(m.id);
  }
  if (view_ && view_->stamp != v->stamp) sources_.stamp_changed();
  const bool same_tables = rings_.serving == rings.serving && rings_.target == rings.target;
  auto old = std::exchange(rings_, std::move(rings));
  view_ = std::move(v);
  const auto* me = view_->find(self_);
  serving_ = me != nullptr && me->serving();
  count_base();
  if (!same_tables) note_listed();

  const bool first = std::exchange(first_, false);
  if (first) old = std::exchange(former_, {});
  if (!same_tables || !returned.empty()) grow_by_changes(old, returned, now);
  for (const auto& id : risen) grow_by_missed_death(id, now);
  if (first && joining()) grow_by_base(now);
  if (!same_tables || !risen.empty() || !returned.empty()) dirty_ = true;
  recount(now);
  seen_.store(std::make_shared<const snapshot>(snapshot{rings_, serving_}));
  return !same_tables;
}

void placement::note_listed() {
  listed_ = {};
  for (const auto* r : {rings_.serving.get(), rings_.target.get()})
    for (std::uint32_t i = 0; i < partition_count; ++i)
      if (const partition p{static_cast<std::uint16_t>(i)}; r->at(p).has(self_)) listed_.set(p);
}

// consistency.md §4: when a node's lists for a partition change, its sources grow by all members of the old and the new
// lists, itself excepted. A node that returned is a source too, and for one that itself returned all others are.
void placement::grow_by_changes(const ring_pair& old, const std::set<node_id>& returned, unix_ms now) {
  const list_rows rows({old.serving.get(), old.target.get(), rings_.serving.get(), rings_.target.get()});
  std::vector<char> back(rows.ids().size(), 0);
  for (std::size_t i = 0; i < back.size(); ++i) back[i] = returned.contains(rows.ids()[i]) ? 1 : 0;
  const bool self_back = returned.contains(self_);
  rows.for_each([&](partition p, const std::vector<list_rows::list>& l) {
    if (!listed_.test(p)) return;
    bool changed = self_back || l[0] != l[2] || l[1] != l[3];
    for (const auto& each : {l[2], l[3]})
      for (const auto n : each) changed = changed || (n != list_rows::nobody && back[n] != 0);
    if (!changed) return;
    for (const auto& each : l)
      for (const auto n : each)
        if (n != list_rows::nobody) sources_.add(rows.ids()[n], p, now);
  });
}

// An incarnation that rose is a death that was missed: while it lasted, others may have held the lists without that
// node, and acknowledged by them. At the node itself all its partitions are touched.
void placement::grow_by_missed_death(const node_id& risen, unix_ms now) {
  const auto serving = without(*rings_.serving, risen), target = without(*rings_.target, risen);
  if (!serving && !target) return;
  const list_rows rows({rings_.serving.get(), rings_.target.get(), serving ? serving.get() : rings_.serving.get(),
                        target ? target.get() : rings_.target.get()});
  const auto number = rows.number(risen);
  rows.for_each([&](partition p, const std::vector<list_rows::list>& l) {
    if (!listed_.test(p) || (!list_rows::has(l[0], number) && !list_rows::has(l[1], number))) return;
    for (const auto& each : l)
      for (const auto n : each)
        if (n != list_rows::nobody) sources_.add(rows.ids()[n], p, now);
  });
}

// A joiner's old lists are those of the base that it adopts, all its members counted active. Of whom no more is known
// than the id, the lists cannot be told: it may have been in any of them.
void placement::grow_by_base(unix_ms now) {
  if (!base_ || !view_) return;
  std::vector<ring_member> members;
  for (const auto& id : base_.members) {
    const auto* m = view_->find(id);
    if (m != nullptr && m->body.version != 0) {
      if (m->body.roles.has(role::registrar)) members.push_back({id, m->body.capacity, m->body.zone});
      continue;
    }
    if (!gone_for_good(id)) listed_.for_each([&](partition p) { sources_.add(id, p, now); });
  }
  const auto r = ring::build(std::move(members));
  listed_.for_each([&](partition p) {
    const ring::list owners = r->at(p);
    for (const auto* id : owners.span()) sources_.add(*id, p, now);
  });
  dirty_ = true;
}

void placement::set_base(const dht::base& b, unix_ms now) {
  if (b == base_) return;
  base_ = b;
  count_base();
  if (!first_ && joining()) grow_by_base(now);
  dirty_ = true;
  recount(now);
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

void placement::set_min_copies(std::size_t n, unix_ms now) {
  if (std::exchange(min_copies_, n) != n) recount(now);
}

std::size_t placement::needed(partition p) const {
  if (base_size_ >= 3) return std::min(min_copies_, base_size_ - 1);
  return std::min(min_copies_, 1 + others(p).size());
}

std::size_t placement::silent_max() const { return base_size_ >= 3 ? std::min(min_copies_, base_size_ - 1) - 1 : 0; }

bool placement::gone_for_good(const node_id& id) const {
  const auto* m = view_ ? view_->find(id) : nullptr;
  return m != nullptr && m->state == member_state::left;
}

// Settled: every live source is struck off. Complete: and at most w − 1 are dead and unmerged; then every acknowledged
// write is here, and the dead ones are forgotten.
void placement::recount(unix_ms now) {
  const auto grant = longest_volatile_grant().count();
  const auto dead_allowed = silent_max();
  std::vector<const partition_set*> live, dead, dead_volatile;
  std::vector<node_id> gone;
  sources_.for_each([&](const node_id& id, const partition_set& open, unix_ms since) {
    if (gone_for_good(id) || (!base_ && !alive(id))) return gone.push_back(id); // without a base the dead do not count
    if (alive(id)) return live.push_back(&open);
    dead.push_back(&open);
    if (since + grant > now) dead_volatile.push_back(&open);
  });
  // At least 1, 2, 3 of them: bit by bit.
  const auto over = [&](const std::vector<const partition_set*>& sets, std::size_t word) {
    std::array<std::uint64_t, copies_default> least{};
    for (const auto* s : sets)
      for (std::size_t n = least.size(); n-- > 0;) least[n] |= s->words[word] & (n == 0 ? ~std::uint64_t{0} : least[n - 1]);
    return least[std::min(dead_allowed, least.size() - 1)];
  };
  partition_set complete;
  for (std::size_t word = 0; word < unsettled_.size(); ++word) {
    std::uint64_t open = 0;
    for (const auto* s : live) open |= s->words[word];
    open &= listed_.words[word];
    const auto doubt = over(dead, word) & listed_.words[word];
    complete.words[word] = listed_.words[word] & ~open & ~doubt;
    unsettled_[word].store(open, std::memory_order_release);
    doubtful_[word].store(doubt, std::memory_order_release);
    doubtful_volatile_[word].store(over(dead_volatile, word) & listed_.words[word], std::memory_order_release);
  }
  for (const auto& id : gone) sources_.forget(id);
  if (!dead.empty()) sources_.forget(complete, [this](const node_id& id) { return !alive(id); });
}

void placement::turn(unix_ms now) {
  bool any_dead = false;
  sources_.for_each([&](const node_id& id, const partition_set&, unix_ms) { any_dead = any_dead || !alive(id); });
  if (any_dead) recount(now);
}

void placement::strike(const node_id& source, const partition_set& of, const view_stamp& began_under, unix_ms now) {
  sources_.strike(source, of, began_under == stamp());
  dirty_ = true;
  recount(now);
}

void placement::unite(std::span<const told_source> others, const partition_set& of, unix_ms now) {
  if (others.empty()) return;
  sources_.unite(others, of & listed_);
  dirty_ = true;
  recount(now);
}

void placement::unlist(const partition_set& dropped) {
  sources_.forget(dropped, [](const node_id&) { return true; });
  dirty_ = true;
}

std::vector<node_id> placement::accept_loss(unix_ms now) {
  std::vector<node_id> out;
  for (const auto& s : sources_.all())
    if (!alive(s.id)) out.push_back(s.id);
  for (const auto& id : out) sources_.forget(id);
  dirty_ = dirty_ || !out.empty();
  recount(now);
  return out;
}

std::vector<node_id> placement::sources(partition p) const { return sources_.of(p); }

std::vector<node_id> placement::live_sources() const {
  std::vector<node_id> out;
  sources_.for_each([&](const node_id& id, const partition_set& open, unix_ms) {
    if (alive(id) && !(open & listed_).none()) out.push_back(id);
  });
  return out;
}

std::vector<missing_source> placement::missing() const {
  std::vector<missing_source> out;
  sources_.for_each([&](const node_id& id, const partition_set& open, unix_ms since) {
    if (const auto n = (open & listed_).count(); n > 0) out.push_back({id, alive(id), since, n});
  });
  return out;
}

bool placement::test(const bitmap& b, partition p) {
  return ((b[partition_set::word(p)].load(std::memory_order_acquire) >> partition_set::bit(p)) & 1) != 0;
}

bool placement::settled() const {
  return std::ranges::all_of(unsettled_, [](const auto& w) { return w.load(std::memory_order_relaxed) == 0; });
}

bool placement::complete(partition p, table t) const {
  return !test(unsettled_, p) && !test(is_durable(t) ? doubtful_ : doubtful_volatile_, p);
}

std::size_t placement::unsettled_count() const {
  std::size_t n = 0;
  for (const auto& w : unsettled_) n += static_cast<std::size_t>(std::popcount(w.load()));
  return n;
}

std::size_t placement::incomplete_count() const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < doubtful_.size(); ++i)
    n += static_cast<std::size_t>(std::popcount(doubtful_[i].load() & ~unsettled_[i].load()));
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

bool placement::compares(const node_id& id) const {
  const auto* m = view_ ? view_->find(id) : nullptr;
  return m == nullptr || m->body.version == 0 || m->body.wire_highest >= wire_version_compare;
}

const node_id* placement::owner(const ring_key& k) const { return rings_.serving ? rings_.serving->owner(k) : nullptr; }

bool placement::owns(const ring_key& k) const {
  const auto* o = owner(k);
  return serving_ && o != nullptr && *o == self_;
}

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

bool placement::listed(const node_id& id, partition p) const {
  return rings_.serving && (rings_.serving->at(p).has(id) || rings_.target->at(p).has(id));
}

partition_set placement::shared(const node_id& other) const {
  partition_set out;
  listed_.for_each([&](partition p) {
    if (listed(other, p)) out.set(p);
  });
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

bool placement::owner_here(const ring_key& k) const {
  const auto s = seen_.load();
  if (!s || !s->active) return false;
  const auto* owner = s->rings.serving->owner(k);
  return owner != nullptr && *owner == self_;
}

bool placement::answers(const bitmap& doubt, const ring_key& k) const {
  const auto p = partition_of(k);
  return !test(unsettled_, p) && !test(doubt, p) && owner_here(k);
}

bool placement::answers_for(const ring_key& k) const { return answers(doubtful_, k); }
bool placement::answers_for(table t, const ring_key& k) const {
  return answers(is_durable(t) ? doubtful_ : doubtful_volatile_, k);
}

} // namespace skald::dht
