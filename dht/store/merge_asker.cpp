#include "dht/store/merge_asker.hpp"

#include "base/metrics.hpp"
#include "dht/store/merge_holder.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter asked("skald_store_merges_asked_total", "Merges asked of other holders");
metrics::counter equal("skald_store_merges_equal_total", "Merges in which nothing differed");
metrics::counter records_taken("skald_store_copy_records_total", "Records taken from other holders' pages");
metrics::counter bytes_taken("skald_store_copy_bytes_total", "Bytes of records between holders: sent in pages, and taken that were news, about", R"(what="taken")");
metrics::counter stalled("skald_store_merges_stalled_total", "Merges begun again because no answer came");

constexpr std::size_t portion_partitions = 4096, portion_bytes = 256 << 10, portion_deep = 64;
constexpr std::size_t listed_whole_max = 64; // items of a partition that are told without comparing its sub-ranges
constexpr seconds rest_after_silence{1};
constexpr seconds background_period{60};

} // namespace

partition_set merge_asker::wanted(const node_id& peer) const {
  partition_set out;
  if (const auto open = c_.where.all_sources().open(peer)) out = *open & c_.where.listed();
  if (const auto at = pleased_.find(peer); at != pleased_.end()) out |= at->second & c_.where.listed();
  return out;
}

// Each partition that is in no merge goes to one of the idle nodes that it is to be merged with; which one turns with
// the partition, so that a joiner is served by all.
void merge_asker::schedule() {
  if (c_.where.learning()) return;
  const auto live = c_.where.live_sources();
  if (live.empty() && pleased_.empty()) return;
  std::map<node_id, partition_set> idle;
  const auto now = c_.ports.time->now();
  partition_set busy;
  for (const auto& [id, s] : sessions_) busy |= s.parts;
  const auto free = c_.where.listed() - busy;
  const auto offer = [&](const node_id& id) {
    if (!c_.where.alive(id) || sessions_.contains(id) || idle.contains(id)) return;
    if (!c_.where.all_sources().open_within(id, free) && !pleased_.contains(id)) return;
    if (const auto at = rests_until_.find(id); at != rests_until_.end() && at->second > now) return;
    if (auto parts = wanted(id) - busy; !parts.none()) idle.emplace(id, parts);
  };
  for (const auto& id : live) offer(id);
  for (const auto& [id, parts] : pleased_) offer(id);
  if (idle.empty()) return;
  if (idle.size() == 1) return begin(idle.begin()->first, idle.begin()->second);
  std::vector<std::uint16_t> takers(partition_count, 0), seen(partition_count, 0);
  for (const auto& [id, parts] : idle) parts.for_each([&](partition p) { ++takers[static_cast<std::uint16_t>(p)]; });
  for (auto& [id, parts] : idle) {
    partition_set mine;
    parts.for_each([&](partition p) {
      const auto i = static_cast<std::uint16_t>(p);
      if (seen[i]++ == i % takers[i]) mine.set(p);
    });
    if (!mine.none()) begin(id, mine);
  }
}

void merge_asker::begin(const node_id& peer, const partition_set& parts) {
  session s;
  s.parts = parts;
  if (const auto at = pleased_.find(peer); at != pleased_.end()) {
    s.pleased = at->second & parts;
    s.background = in_background_.erase(peer) != 0 && s.pleased == parts;
    at->second -= parts;
    if (at->second.none()) pleased_.erase(at);
  }
  const auto at = sessions_.insert_or_assign(peer, std::move(s)).first;
  if (!c_.where.compares(peer)) { // all that it has is asked for
    at->second.number = c_.next_number++;
    at->second.began_under = c_.where.stamp();
    c_.where.ask(peer, parts);
    parts.for_each([&](partition p) { at->second.differing.push_back(p); });
    return next_portion(at);
  }
  if (!begin_comparing(peer, at->second)) give_up(at);
}

bool merge_asker::begin_comparing(const node_id& peer, session& s) {
  s.number = c_.next_number++;
  s.began_under = c_.where.stamp();
  s.cut = digest_cut(c_.now());
  c_.where.ask(peer, s.parts);
  asked.add();
  return compare(peer, s, compare_level::all, {});
}

bool merge_asker::compare(const node_id& peer, session& s, compare_level level, std::vector<std::uint32_t> covered) {
  store_compare q{s.number, s.began_under, s.cut, level, false, {}, std::move(covered), {}};
  q.digests = digests_of(c_.tables, s.parts, s.cut, level, q.covered);
  if (level == compare_level::all) {
    q.shared = s.background && s.parts == c_.where.shared(peer);
    if (!q.shared) q.parts = s.parts;
  }
  s.what = waiting_for::comparison;
  s.heard = c_.ports.time->now();
  return c_.send(peer, q.encode());
}

void merge_asker::on_compared(const node_id& from, const store_compared& a) {
  const auto at = sessions_.find(from);
  if (at == sessions_.end() || at->second.number != a.number) return;
  auto& s = at->second;
  s.heard = c_.ports.time->now();
  switch (a.said) {
  case store_compared::status::facts_first:
    s.what = waiting_for::facts; // asked again when they came, and with each tick
    if (c_.hooks.view_differs) c_.hooks.view_differs(from, a.stamp);
    return;
  case store_compared::status::begin_again:
    give_up(at);
    return;
  case store_compared::status::done: break;
  }
  if (a.level == compare_level::all) c_.where.unite(a.sources, s.parts, c_.now());
  on_differing(at, a);
}

void merge_asker::on_differing(session_map::iterator at, const store_compared& a) {
  auto& [peer, s] = *at;
  partition_set rest; // what may differ
  switch (a.level) {
  case compare_level::all:
    if (a.differ.empty()) {
      equal.add();
      return finish(at);
    }
    s.different = true;
    if (!compare(peer, s, compare_level::groups, {})) give_up(at);
    return;
  case compare_level::groups:
    for (const auto g : a.differ)
      for (std::uint32_t i = g * partitions_per_group; i < std::min<std::uint32_t>((g + 1) * partitions_per_group, partition_count); ++i)
        rest.set(partition{static_cast<std::uint16_t>(i)});
    if (!done_with(peer, s, s.parts - rest)) return void(give_up(at));
    if (s.parts.none()) return finish(at);
    if (!compare(peer, s, compare_level::partitions, a.differ)) give_up(at);
    return;
  case compare_level::partitions:
    for (const auto n : a.differ)
      if (n < partition_count) rest.set(partition{static_cast<std::uint16_t>(n)});
    rest &= s.parts;
    if (!done_with(peer, s, s.parts - rest)) return void(give_up(at));
    rest.for_each([&](partition p) { s.differing.push_back(p); });
    return next_portion(at);
  case compare_level::sub_ranges:
    take_sub_ranges(s, a.differ);
    return ask_portion(at);
  }
}

// Only what is on disk here is merged: the other may be the last to have it.
bool merge_asker::done_with(const node_id& peer, session& s, const partition_set& parts) {
  if (parts.none()) return true;
  if (!commit_()) return false;
  c_.where.strike(peer, parts, s.began_under, c_.now());
  s.parts -= parts;
  s.pleased -= parts;
  return true;
}

std::vector<held_item> merge_asker::held(partition p, std::optional<std::size_t> sub_range) const {
  std::vector<held_item> out;
  for (const auto& r : c_.tables.of(p, sub_range)) out.push_back(as_held(r));
  return out;
}

void merge_asker::add_to_portion(session& s, partition p, std::size_t& bytes) {
  s.portion.partitions.emplace_back(p, 0);
  auto mine = held(p, {});
  if (mine.empty()) return; // all that the other has is wanted
  if (mine.size() > listed_whole_max) return s.deep.push_back(static_cast<std::uint16_t>(p));
  bytes += mine.size() * sizeof(held_item);
  s.portion.ranges.push_back({p, wanted_range::whole, std::move(mine)});
}

void merge_asker::next_portion(session_map::iterator at) {
  auto& [peer, s] = *at;
  s.portion = {};
  s.deep.clear();
  s.through = 0;
  std::size_t bytes = 0;
  while (s.next < s.differing.size() && s.portion.partitions.size() < portion_partitions && bytes < portion_bytes &&
         s.deep.size() < portion_deep)
    add_to_portion(s, s.differing[s.next++], bytes);
  if (s.portion.partitions.empty()) return finish(at);
  if (s.deep.empty()) return ask_portion(at);
  if (!c_.where.compares(peer)) return ask_portion(at); // without ranges: all
  if (!compare(peer, s, compare_level::sub_ranges, s.deep)) give_up(at);
}

void merge_asker::take_sub_ranges(session& s, const std::vector<std::uint32_t>& differ) {
  std::set<std::uint32_t> still;
  for (const auto n : differ) {
    if (n / sub_ranges >= partition_count) continue;
    const partition p{static_cast<std::uint16_t>(n / sub_ranges)};
    still.insert(static_cast<std::uint16_t>(p));
    const auto sub = static_cast<std::uint8_t>(n % sub_ranges);
    s.portion.ranges.push_back({p, sub, held(p, sub)});
  }
  // In any fixed order, partitions ascending. (A stable sort has clang complain about libstdc++ 12.)
  std::ranges::sort(s.portion.ranges, {}, [](const wanted_range& r) { return std::pair(r.at, r.sub_range); });
  // What became equal meanwhile needs no ranges, and would be sent whole without any: one that asks for what it has.
  for (const auto n : s.deep)
    if (!still.contains(n)) std::erase_if(s.portion.partitions, [&](const auto& p) { return static_cast<std::uint16_t>(p.first) == n; });
}

void merge_asker::ask_portion(session_map::iterator at) {
  auto& [peer, s] = *at;
  // Those that became equal while sub-ranges were compared are in `differing`, but not asked for.
  partition_set wanted, equal_now;
  for (const auto& [p, unused] : s.portion.partitions) wanted.set(p);
  for (const auto n : s.deep)
    if (const partition p{static_cast<std::uint16_t>(n)}; !wanted.test(p)) equal_now.set(p);
  if (!done_with(peer, s, equal_now)) return void(give_up(at));
  s.deep.clear();
  if (s.portion.partitions.empty()) return next_portion(at);
  s.portion.number = s.number;
  s.portion.stamp = c_.where.stamp();
  s.what = waiting_for::records;
  s.heard = c_.ports.time->now();
  if (!c_.send(peer, s.portion.encode())) give_up(at);
}

void merge_asker::on_page(const node_id& from, const store_copy& page) {
  const auto at = sessions_.find(from);
  if (at == sessions_.end() || at->second.number != page.number || at->second.what != waiting_for::records) return;
  auto& s = at->second;
  const auto& portion = s.portion.partitions;
  if (page.through < s.through || page.through > portion.size()) return;
  s.heard = c_.ports.time->now();
  for (const auto& r : page.records)
    if (c_.where.listed().test(partition_of(r.key)) && c_.merge(r)) {
      records_taken.add();
      bytes_taken.add(packed_size(r));
    }
  partition_set through;
  for (; s.through < page.through; ++s.through) through.set(portion[s.through].first);
  if (!done_with(from, s, through)) return void(give_up(at));
  if (s.through == portion.size()) next_portion(at);
}

void merge_asker::finish(session_map::iterator at) {
  auto& [peer, s] = *at;
  if (!done_with(peer, s, s.parts)) return void(give_up(at));
  c_.send(peer, store_copy_done{s.number, c_.where.stamp()}.encode());
  // What this node has and the other lacks: that one has to ask.
  if (s.background && s.different)
    if (const auto parts = c_.where.shared(peer); !parts.none()) c_.send(peer, store_merge_please{c_.where.stamp(), parts}.encode());
  sessions_.erase(at);
  schedule();
  if (c_.where.settled()) settled_();
}

merge_asker::session_map::iterator merge_asker::give_up(session_map::iterator at) {
  const auto& [peer, s] = *at;
  if (!s.pleased.none()) pleased_[peer] |= s.pleased;
  rests_until_[peer] = c_.ports.time->now() + c_.config.resend_after;
  return sessions_.erase(at);
}

void merge_asker::please(const node_id& peer, const partition_set& parts) {
  const auto mine = parts & c_.where.listed();
  if (mine.none() || !c_.where.alive(peer)) return;
  pleased_[peer] |= mine;
  schedule();
}

void merge_asker::on_view() {
  for (auto at = sessions_.begin(); at != sessions_.end();) at = c_.where.alive(at->first) ? std::next(at) : give_up(at);
  const auto dead = [this](const auto& entry) { return !c_.where.alive(entry.first); };
  std::erase_if(pleased_, dead);
  std::erase_if(rests_until_, dead);
  note_background();
  for (auto& [id, parts] : pleased_) parts &= c_.where.listed();
  std::erase_if(pleased_, [](const auto& entry) { return entry.second.none(); });
  schedule();
}

void merge_asker::on_facts(const node_id& peer) {
  const auto at = sessions_.find(peer);
  if (at == sessions_.end() || at->second.what != waiting_for::facts) return;
  if (!begin_comparing(peer, at->second)) give_up(at);
}

void merge_asker::on_link_up(const node_id& peer) {
  rests_until_.erase(peer);
  schedule();
}

void merge_asker::on_link_down(const node_id& peer) {
  if (const auto at = sessions_.find(peer); at != sessions_.end()) give_up(at);
}

void merge_asker::tick() {
  const auto now = c_.ports.time->now();
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    const auto peer = at->first;
    auto& s = at->second;
    if (s.what == waiting_for::facts && !begin_comparing(peer, s)) {
      at = give_up(at);
      continue;
    }
    if (now - s.heard <= c_.config.copy_stalled) {
      ++at;
      continue;
    }
    stalled.add();
    at = give_up(at);
    rests_until_[peer] = now + rest_after_silence;
  }
  compare_in_background();
  schedule();
}

void merge_asker::note_background() {
  std::vector<node_id> of;
  for (const auto& m : c_.where.current()->members)
    if (m.alive() && m.id > c_.self) of.push_back(m.id);
  if (of == background_of_) return;
  std::erase_if(background_, [&](const auto& turn) { return !std::ranges::binary_search(of, turn.id); });
  const auto due = c_.ports.time->now() + background_period;
  for (const auto& id : of)
    if (!std::ranges::binary_search(background_of_, id)) background_.push_back({due, id});
  background_of_ = std::move(of);
}

// Of two holders the one with the smaller id asks; if something differed, the other asks too.
void merge_asker::compare_in_background() {
  if (!c_.where.current() || !c_.where.settled()) return;
  const auto now = c_.ports.time->now();
  while (!background_.empty() && background_.front().due <= now) {
    const auto id = background_.front().id;
    background_.pop_front();
    background_.push_back({now + background_period, id});
    if (const auto parts = c_.where.shared(id); !parts.none()) {
      pleased_[id] |= parts;
      in_background_.insert(id);
      return; // one a turn: two at once would share the partitions among them
    }
  }
}

} // namespace skald::dht
