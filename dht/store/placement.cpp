#include "dht/store/placement.hpp"

#include "dht/link/messages.hpp"
#include "dht/store/tables.hpp"

#include <algorithm>
#include <bit>
#include <span>
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

ring::list list_in(const ring_ptr& r, partition p) { return r ? r->at(p) : ring::list{}; }

bool same(const ring::list& a, const ring::list& b) {
  return std::ranges::equal(a.span(), b.span(), [](const node_id* x, const node_id* y) { return *x == *y; });
}

// How many the two have together. Both are sorted by id.
std::size_t members_of(const ring_pair& r) {
  if (r.serving == r.target || !r.serving || !r.target) return r.serving ? r.serving->members().size() : r.target ? r.target->members().size() : 0;
  std::size_t n = 0;
  const auto a = r.serving->members(), b = r.target->members();
  for (std::size_t i = 0, j = 0; i < a.size() || j < b.size(); ++n) {
    const bool first = j == b.size() || (i < a.size() && a[i].id <= b[j].id);
    const bool second = i == a.size() || (j < b.size() && b[j].id <= a[i].id);
    i += first ? 1 : 0;
    j += second ? 1 : 0;
  }
  return n;
}

bool has_member(const ring_ptr& r, const node_id& id) {
  return r && std::ranges::binary_search(r->members(), id, {}, &ring_member::id);
}

} // namespace

bool placement::set(view_ptr v, ring_pair rings, unix_ms now) {
  SKALD_ASSERT(v && rings.serving && rings.target);
  // Returned: seen dead, or not at all, and alive now. Risen: alive before and now, as another incarnation or life:
  // a death that was missed, its own too when it refuted.
  std::set<node_id> returned, risen;
  const std::span<const member> before = view_ ? std::span<const member>(view_->members) : std::span<const member>();
  auto was = before.begin(); // both are sorted by id
  for (const auto& m : v->members) {
    while (was != before.end() && was->id < m.id) ++was;
    if (was == before.end() || was->id != m.id || !m.alive()) continue;
    if (!was->alive()) returned.insert(m.id);
    else if (was->life != m.life || was->incarnation != m.incarnation) risen.insert(m.id);
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
  if (first) old = former_rings();
  const bool same_lists = old.serving == rings_.serving && old.target == rings_.target;
  if (!same_lists || !returned.empty()) grow_by_changes(old, returned, now);
  for (const auto& id : risen) grow_by_missed_death(id, now);
  if (!joining()) strangers_.clear(); // whoever of them is a source still stays one
  if (first && joining()) grow_by_base(now);
  look_at_strangers(now);
  if (!same_tables || !risen.empty() || !returned.empty()) dirty_ = true;
  recount(now);
  seen_.store(std::make_shared<const snapshot>(snapshot{rings_, serving_}));
  return !same_tables;
}

// Half a second from scratch for a thousand members; and mostly they are those of the first view, or nearly.
ring_pair placement::former_rings() {
  const auto was = std::exchange(former_, {});
  const auto build = [](const std::vector<ring_member>& members, const ring_ptr& like) -> ring_ptr {
    if (members.empty()) return nullptr;
    if (like && std::ranges::equal(members, like->members())) return like;
    return ring::build(members, like.get());
  };
  ring_pair out;
  out.serving = build(was.serving, rings_.serving);
  out.target = build(was.target, was.target == was.serving ? out.serving : rings_.target);
  return out;
}

void placement::note_listed() {
  listed_ = {};
  for (const auto* r : {rings_.serving.get(), rings_.target.get()}) r->for_each_of(self_, [this](partition p) { listed_.set(p); });
}

// consistency.md §4: when a node's lists for a partition change, its sources grow by all members of the old and the new
// lists, itself excepted. A node that returned is a source too, and for one that itself returned all others are.
void placement::grow_by_changes(const ring_pair& old, const std::set<node_id>& returned, unix_ms now) {
  const bool self_back = returned.contains(self_);
  listed_.for_each([&](partition p) {
    const std::array<ring::list, 4> lists{list_in(old.serving, p), list_in(old.target, p), rings_.serving->at(p), rings_.target->at(p)};
    bool changed = self_back || !same(lists[0], lists[2]) || !same(lists[1], lists[3]);
    if (!changed && !returned.empty())
      for (const auto& l : {lists[2], lists[3]})
        for (const auto* id : l.span()) changed = changed || returned.contains(*id);
    if (!changed) return;
    for (const auto& l : lists)
      for (const auto* id : l.span()) sources_.add(*id, p, now);
  });
}

// An incarnation that rose is a death that was missed: while it lasted, others may have held the lists without that
// node, and acknowledged by them. At the node itself all its partitions are touched.
void placement::grow_by_missed_death(const node_id& risen, unix_ms now) {
  std::vector<partition> touched;
  listed_.for_each([&](partition p) {
    if (rings_.serving->at(p).has(risen) || rings_.target->at(p).has(risen)) touched.push_back(p);
  });
  if (touched.empty()) return;
  const auto grow = [&](const ring& r) {
    const auto without = r.without(risen, touched);
    for (std::size_t i = 0; i < touched.size(); ++i)
      for (const auto& l : {r.at(touched[i]), without[i]})
        for (const auto* id : l.span()) sources_.add(*id, touched[i], now);
  };
  grow(*rings_.serving);
  if (rings_.target != rings_.serving) grow(*rings_.target);
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
    if (gone_for_good(id)) continue;
    strangers_.insert(id);
    sources_.suspect(id, listed_, now);
  }
  const auto r = ring::build(std::move(members), rings_.serving.get());
  listed_.for_each([&](partition p) {
    const ring::list owners = r->at(p);
    for (const auto* id : owners.span()) sources_.add(*id, p, now);
  });
  dirty_ = true;
}

// Now their lists can be told. In a large cluster they share few partitions with this node, and it would else merge all
// of its own with each of them.
void placement::look_at_strangers(unix_ms now) {
  const auto known = std::erase_if(strangers_, [this](const node_id& id) {
    const auto* m = view_->find(id);
    if (m == nullptr || m->body.version == 0) return false;
    sources_.cleared(id);
    return true;
  });
  if (known > 0) grow_by_base(now);
  learning_ = std::ranges::any_of(strangers_, [this](const node_id& id) { return alive(id); });
}

void placement::set_base(const dht::base& b, unix_ms now) {
  if (b == base_) return;
  base_ = b;
  count_base();
  if (!first_ && joining()) {
    grow_by_base(now);
    look_at_strangers(now);
  }
  dirty_ = true;
  recount(now);
}

void placement::count_base() {
  const std::size_t members = members_of(rings_);
  others_alive_ = members - (has_member(rings_.serving, self_) || has_member(rings_.target, self_) ? 1 : 0);
  if (!base_) {
    base_size_ = members; // decision 14
    return;
  }
  const auto holds = [this](const node_id& id) { // not known: counted, which is the careful side
    const auto* m = view_ ? view_->find(id) : nullptr;
    return m == nullptr || m->body.version == 0 || m->body.roles.has(role::registrar);
  };
  base_size_ = static_cast<std::size_t>(std::ranges::count_if(base_.members, holds));
  base_here_ = std::ranges::none_of(base_.members, [&](const node_id& id) {
    const auto* m = view_ ? view_->find(id) : nullptr;
    return holds(id) && (m == nullptr || m->state == member_state::dead);
  });
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
  const auto dead_allowed = std::min(silent_max(), copies_default - 1);
  partition_set live;
  std::array<partition_set, copies_default> dead{}, dead_volatile{}; // [n]: more than n of them may hold more
  bool any_dead = false;
  std::vector<node_id> gone;
  const auto count = [](auto& over, std::span<const source_sets::word> words) {
    for (const auto& w : words)
      for (std::size_t n = over.size(); n-- > 0;) over[n].words[w.index] |= w.open & (n == 0 ? ~std::uint64_t{0} : over[n - 1].words[w.index]);
  };
  sources_.for_each([&](const node_id& id, std::span<const source_sets::word> words, unix_ms since) {
    if (std::ranges::none_of(words, [](const auto& w) { return w.open != 0; })) return; // merged with, under this stamp
    const bool lives = alive(id);
    if (gone_for_good(id) || (!base_ && !lives)) return gone.push_back(id); // without a base the dead do not count
    if (lives) {
      for (const auto& w : words) live.words[w.index] |= w.open;
      return;
    }
    any_dead = true;
    count(dead, words);
    if (since + grant > now) count(dead_volatile, words);
  });
  partition_set complete;
  for (std::size_t word = 0; word < unsettled_.size(); ++word) {
    const auto open = live.words[word] & listed_.words[word];
    const auto doubt = dead[dead_allowed].words[word] & listed_.words[word];
    complete.words[word] = listed_.words[word] & ~open & ~doubt;
    unsettled_[word].store(open, std::memory_order_release);
    doubtful_[word].store(doubt, std::memory_order_release);
    doubtful_volatile_[word].store(dead_volatile[dead_allowed].words[word] & listed_.words[word], std::memory_order_release);
  }
  for (const auto& id : gone) sources_.forget(id);
  if (any_dead) sources_.forget(complete, [this](const node_id& id) { return !alive(id); });
}

void placement::turn(unix_ms now) {
  bool any_dead = false;
  sources_.for_each([&](const node_id& id, std::span<const source_sets::word>, unix_ms) { any_dead = any_dead || !alive(id); });
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
  sources_.for_each([&](const node_id& id, std::span<const source_sets::word> words, unix_ms) {
    const bool any = std::ranges::any_of(words, [this](const auto& w) { return (w.open & listed_.words[w.index]) != 0; });
    if (any && alive(id)) out.push_back(id);
  });
  return out;
}

std::vector<missing_source> placement::missing() const {
  std::vector<missing_source> out;
  sources_.for_each([&](const node_id& id, std::span<const source_sets::word> words, unix_ms since) {
    std::size_t n = 0;
    for (const auto& w : words) n += static_cast<std::size_t>(std::popcount(w.open & listed_.words[w.index]));
    if (n > 0) out.push_back({id, alive(id), since, n});
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
