#include "dht/store/merge_holder.hpp"

#include "base/metrics.hpp"

#include <algorithm>
#include <bit>
#include <unordered_map>

namespace skald::dht {
namespace {

metrics::counter bytes_sent("skald_store_copy_bytes_total", "Bytes of records between holders: sent in pages, and taken that were news, about", R"(what="sent")");
metrics::counter pages_sent("skald_store_copy_pages_sent_total", "Pages of records sent to other holders");
metrics::counter deferred("skald_store_merges_deferred_total", "Merges that waited for an exchange of membership facts");

constexpr std::size_t partitions_per_page = 16'384; // looked at for one page
constexpr milliseconds page_pause{1};
constexpr milliseconds page_retry{50};

// Where this node has something that may be news: where it has nothing there is nothing to be asked for.
std::vector<std::uint32_t> differing(const store_compare::digest_list& mine, const store_compare::digest_list& theirs) {
  std::vector<std::uint32_t> out;
  auto at = theirs.begin();
  for (const auto& [index, digest] : mine) {
    while (at != theirs.end() && at->first < index) ++at;
    if (at == theirs.end() || at->first != index || at->second != digest) out.push_back(index);
  }
  return out;
}

// What the asker says that it has of a range: by name, its version and mark.
class held_list {
public:
  explicit held_list(const std::vector<held_item>& held) {
    for (const auto& h : held) items_.insert_or_assign(h.name, h);
  }
  bool has(const record& r) const {
    const auto mine = as_held(r);
    const auto found = items_.find(mine.name);
    if (found == items_.end()) return false;
    return found->second.hlc > mine.hlc || (found->second.hlc == mine.hlc && found->second.mark == mine.mark);
  }

private:
  std::unordered_map<std::uint64_t, held_item> items_;
};

} // namespace

store_compare::digest_list digests_of(const memory_tables& t, const partition_set& parts, unix_ms cut, compare_level level,
                                      const std::vector<std::uint32_t>& covered) {
  store_compare::digest_list out;
  const auto add = [&](std::uint32_t at, std::uint64_t digest) {
    if (digest != 0) out.emplace_back(at, digest);
  };
  switch (level) {
  case compare_level::all: {
    digest_sum sum;
    parts.for_each([&](partition p) { sum.add(static_cast<std::uint16_t>(p), t.digest(p, cut)); });
    add(0, sum.a);
    add(1, sum.b);
    break;
  }
  case compare_level::groups: {
    std::array<digest_sum, partition_count / partitions_per_group> sums{};
    parts.for_each([&](partition p) {
      const auto i = static_cast<std::uint16_t>(p);
      sums[i / partitions_per_group].add(i, t.digest(p, cut));
    });
    for (std::uint32_t g = 0; g < sums.size(); ++g) add(g, sums[g].a ^ std::rotl(sums[g].b, 32));
    break;
  }
  case compare_level::partitions:
    for (const auto g : covered)
      for (std::uint32_t i = 0; i < partitions_per_group; ++i) {
        const auto n = g * partitions_per_group + i;
        if (n >= partition_count) break;
        if (const partition p{static_cast<std::uint16_t>(n)}; parts.test(p)) add(n, t.digest(p, cut));
      }
    break;
  case compare_level::sub_ranges:
    for (const auto n : covered) {
      if (n >= partition_count) break;
      const auto sums = t.sub_digests(partition{static_cast<std::uint16_t>(n)}, cut);
      for (std::uint32_t i = 0; i < sums.size(); ++i) add(n * sub_ranges + i, sums[i]);
    }
    break;
  }
  return out;
}

// Facts first, so that neither goes on acknowledging what the other's view forbids: under equal views they are known
// already; else the asker's whole list has to have come after its question.
bool merge_holder::views_agree(const node_id& from, const store_compare& q) {
  const auto at = facts_.find(from);
  if (q.stamp == c_.where.stamp() || (at != facts_.end() && at->second == facts::heard)) {
    if (at != facts_.end()) facts_.erase(at);
    return true;
  }
  facts_.insert_or_assign(from, facts::wanted);
  deferred.add();
  return false;
}

void merge_holder::on_facts(const node_id& peer) {
  if (const auto at = facts_.find(peer); at != facts_.end()) at->second = facts::heard;
}

void merge_holder::on_compare(const node_id& from, const store_compare& q) {
  store_compared a{q.number, c_.where.stamp(), store_compared::status::done, q.level, {}, {}};
  if (q.level == compare_level::all) {
    if (!views_agree(from, q)) {
      a.said = store_compared::status::facts_first;
      c_.send(from, a.encode());
      if (c_.hooks.view_differs) c_.hooks.view_differs(from, q.stamp);
      return;
    }
    auto& s = sessions_[from];
    // One whose clock is ahead would not ask for what lives by this node's.
    const auto cut = std::min(q.cut, digest_cut(c_.now()) + digest_step.count());
    s = {q.number, q.shared ? c_.where.shared(from) : q.parts, cut, false};
    c_.behind.asked(from, s.parts);
    a.sources = c_.where.told_sources(s.parts);
  }
  const auto found = sessions_.find(from);
  if (found == sessions_.end() || found->second.number != q.number) {
    a.said = store_compared::status::begin_again;
  } else {
    const auto& s = found->second;
    const auto mine = digests_of(c_.tables, s.parts, s.cut, q.level, q.covered);
    a.differ = differing(mine, q.digests);
    // In the background both have to hear of it, whoever lacks something.
    if (q.shared && q.level == compare_level::all && mine != q.digests) a.differ = {0};
  }
  c_.send(from, a.encode()); // lost: the asker begins again
}

// One that compares nothing, as earlier versions do, takes whole partitions: its merge begins with what it asks for, and
// its confirmation counts for that. Sub-ranges come after a comparison, which a link's end made forgotten here: they say nothing of the rest.
void merge_holder::note_whole(const node_id& from, const store_copy_request& q) {
  if (!std::ranges::all_of(q.ranges, [](const wanted_range& r) { return r.sub_range == wanted_range::whole; })) return;
  auto found = sessions_.find(from);
  if (found == sessions_.end() || found->second.number != q.number) {
    found = sessions_.insert_or_assign(from, session{q.number, {}, 0, true}).first;
    c_.behind.asked(from, {});
  }
  if (!found->second.whole) return;
  partition_set more;
  for (const auto& [p, unused] : q.partitions) more.set(p);
  found->second.parts |= more;
  c_.behind.asked_more(from, more);
}

void merge_holder::on_request(const node_id& from, store_copy_request q) {
  note_whole(from, q);
  const auto number = q.number;
  job j;
  j.question = std::move(q);
  jobs_.insert_or_assign(from, std::move(j));
  step(from, number);
}

// Collects what the asker lacks of the partition at the index.
void merge_holder::open(job& j) const {
  const auto p = j.question.partitions[j.index].first;
  const auto& ranges = j.question.ranges;
  while (j.range < ranges.size() && ranges[j.range].at < p) ++j.range;
  j.rest.clear();
  j.at = 0;
  j.opened = true;
  if (j.range == ranges.size() || ranges[j.range].at != p) {
    j.rest = c_.tables.of(p);
    return;
  }
  for (; j.range < ranges.size() && ranges[j.range].at == p; ++j.range) {
    const auto& w = ranges[j.range];
    const held_list held(w.held);
    auto mine = w.sub_range == wanted_range::whole ? c_.tables.of(p) : c_.tables.of(p, w.sub_range);
    for (auto& r : mine)
      if (!held.has(r)) j.rest.push_back(std::move(r));
  }
}

store_copy merge_holder::next_page(job& j) const {
  store_copy page{j.question.number, 0, {}};
  std::size_t bytes = 0, looked_at = 0;
  while (j.index < j.question.partitions.size() && looked_at < partitions_per_page) {
    if (!j.opened) open(j);
    for (; j.at < j.rest.size() && bytes < copy_page_bytes; ++j.at) {
      bytes += packed_size(j.rest[j.at]);
      page.records.push_back(std::move(j.rest[j.at]));
    }
    if (j.at < j.rest.size()) break;
    j.opened = false;
    ++j.index;
    ++looked_at;
  }
  page.through = static_cast<std::uint32_t>(j.index);
  return page;
}

void merge_holder::step(const node_id& peer, std::uint64_t number) {
  const auto found = jobs_.find(peer);
  if (found == jobs_.end() || found->second.question.number != number) return; // replaced by a newer one
  auto& j = found->second;
  if (!j.unsent) j.unsent = next_page(j).encode();
  if (!c_.send(peer, *j.unsent)) {
    c_.after(page_retry, [this, peer, number] { step(peer, number); });
    return;
  }
  pages_sent.add();
  bytes_sent.add(j.unsent->body.size());
  j.unsent.reset();
  if (j.index >= j.question.partitions.size()) {
    jobs_.erase(found);
    return;
  }
  c_.after(page_pause, [this, peer, number] { step(peer, number); });
}

void merge_holder::on_done(const node_id& from, const store_copy_done& d) {
  const auto found = sessions_.find(from);
  if (found == sessions_.end() || found->second.number != d.number) return;
  sessions_.erase(found);
  c_.behind.confirmed(from);
}

void merge_holder::on_view() {
  const auto dead = [this](const auto& entry) { return !c_.where.alive(entry.first); };
  std::erase_if(sessions_, dead);
  std::erase_if(jobs_, dead);
  std::erase_if(facts_, dead);
}

void merge_holder::on_link_down(const node_id& peer) {
  sessions_.erase(peer);
  jobs_.erase(peer);
  facts_.erase(peer);
}

} // namespace skald::dht
