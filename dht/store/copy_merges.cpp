#include "dht/store/copy_merges.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter asked("skald_store_merges_asked_total", "Merges asked of other holders");
metrics::counter pages_sent("skald_store_copy_pages_sent_total", "Pages of records sent to other holders");
metrics::counter records_taken("skald_store_copy_records_total", "Records taken from other holders' pages");
metrics::counter stalled("skald_store_merges_stalled_total", "Merges asked for again because no page came");

constexpr std::uint32_t partitions_per_step = 16'384; // looked at for one page
constexpr milliseconds page_pause{1};
constexpr milliseconds page_retry{50};

} // namespace

void copy_merges::on_view() {
  std::erase_if(pulls_, [&](const auto& p) { return !c_.where.alive(p.first); });
  std::erase_if(jobs_, [&](const auto& j) { return !c_.where.alive(j.first); });
  note_draining();
  ask_idle();
}

void copy_merges::ask_idle() {
  for (const auto& peer : c_.where.sources())
    if (!pulls_.contains(peer)) ask(peer);
}

void copy_merges::ask(const node_id& peer) {
  pull p;
  p.partitions = c_.where.ask(peer);
  if (p.partitions.empty()) return;
  p.number = c_.next_number++;
  p.heard = c_.ports.time->now();
  store_copy_request q{p.number, c_.where.stamp(), {}};
  q.partitions.reserve(p.partitions.size());
  for (const auto at : p.partitions) q.partitions.emplace_back(at, c_.tables.digest(at));
  if (!c_.send(peer, q.encode())) return; // the tick tries again
  asked.add();
  pulls_.insert_or_assign(peer, std::move(p));
}

bool copy_merges::on_page(const node_id& from, const store_copy& page) {
  const auto found = pulls_.find(from);
  if (found == pulls_.end() || found->second.number != page.number) return false;
  auto& p = found->second;
  if (page.through < p.through || page.through > p.partitions.size()) return false;
  p.heard = c_.ports.time->now();
  for (const auto& r : page.records)
    if (c_.merge(r)) records_taken.add();
  // Only what is on disk here is merged: the other may be the last to have it.
  if (!commit_()) {
    pulls_.erase(found);
    return false;
  }
  for (; p.through < page.through; ++p.through) c_.where.strike(from, p.partitions[p.through]);
  if (p.through < p.partitions.size()) return false;
  c_.send(from, store_copy_done{p.number, c_.where.stamp()}.encode());
  pulls_.erase(found);
  c_.where.forget_struck();
  ask(from); // what was added since
  return c_.where.settled();
}

void copy_merges::on_link_up(const node_id& peer) {
  const auto sources = c_.where.sources();
  if (!pulls_.contains(peer) && std::ranges::find(sources, peer) != sources.end()) ask(peer);
}

void copy_merges::on_link_down(const node_id& peer) {
  pulls_.erase(peer);
  jobs_.erase(peer);
}

void copy_merges::tick() {
  const auto now = c_.ports.time->now();
  stalled.add(std::erase_if(pulls_, [&](const auto& p) { return now - p.second.heard > c_.config.copy_stalled; }));
  ask_idle();
}

void copy_merges::on_request(const node_id& from, store_copy_request q) {
  const auto number = q.number;
  jobs_.insert_or_assign(from, job{std::move(q), 0, {}, 0, false, std::nullopt});
  step(from, number);
}

store_copy copy_merges::next_page(job& j) const {
  store_copy page{j.question.number, 0, {}};
  std::size_t bytes = 0;
  std::uint32_t looked_at = 0;
  while (j.index < j.question.partitions.size() && looked_at < partitions_per_step) {
    const auto& [p, digest] = j.question.partitions[j.index];
    if (!j.opened) {
      j.rest = c_.tables.digest(p) == digest ? std::vector<record>{} : c_.tables.of(p);
      j.at = 0;
      j.opened = true;
    }
    for (; j.at < j.rest.size() && bytes < copy_page_bytes; ++j.at) {
      bytes += packed_size(j.rest[j.at]);
      page.records.push_back(std::move(j.rest[j.at]));
    }
    if (j.at < j.rest.size()) break;
    j.opened = false;
    ++j.index;
    ++looked_at;
  }
  page.through = j.index;
  return page;
}

void copy_merges::step(const node_id& peer, std::uint64_t number) {
  const auto found = jobs_.find(peer);
  if (found == jobs_.end() || found->second.question.number != number) return; // replaced by a newer one
  auto& j = found->second;
  if (!j.unsent) j.unsent = next_page(j).encode();
  if (!c_.send(peer, *j.unsent)) {
    c_.after(page_retry, [this, peer, number] { step(peer, number); });
    return;
  }
  pages_sent.add();
  j.unsent.reset();
  if (j.index >= j.question.partitions.size()) {
    jobs_.erase(found);
    return;
  }
  c_.after(page_pause, [this, peer, number] { step(peer, number); });
}

void copy_merges::on_done(const node_id& from) {
  if (draining_) served_.insert(from);
}

void copy_merges::note_draining() {
  const auto* me = c_.where.current()->find(c_.self);
  const bool now = me != nullptr && me->state == member_state::draining;
  if (now && !draining_) {
    served_.clear();
    heirs_ = c_.where.heirs();
  }
  draining_ = now;
}

bool copy_merges::heirs_have_it() const {
  return draining_ &&
         std::ranges::all_of(heirs_, [&](const node_id& n) { return served_.contains(n) || !c_.where.alive(n); });
}

} // namespace skald::dht
