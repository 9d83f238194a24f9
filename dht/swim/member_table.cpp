#include "dht/swim/member_table.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::dht {
namespace {
metrics::counter refused("skald_swim_members_refused_total", "Members not taken because the table was full");
} // namespace

std::size_t member_table::index_of(const node_id& id) const {
  const auto at = std::ranges::lower_bound(peers_, id, {}, [](const auto& p) -> const node_id& { return p->known.id; });
  return static_cast<std::size_t>(at - peers_.begin());
}

peer* member_table::find(const node_id& id) {
  const std::size_t at = index_of(id);
  return at < peers_.size() && peers_[at]->known.id == id ? peers_[at].get() : nullptr;
}

peer* member_table::add(const fact& f) {
  if (peers_.size() >= members_max) {
    refused.add();
    return nullptr;
  }
  auto made = std::make_unique<peer>();
  peer* p = made.get();
  p->known.id = f.id;
  p->known.state = member_state::dead; // counts for nothing until change()
  peers_.insert(peers_.begin() + static_cast<std::ptrdiff_t>(index_of(f.id)), std::move(made));
  change(*p, f);
  return p;
}

void member_table::erase(peer& p) {
  clear_suspicion(p);
  digest_ -= stamp_share(p.known);
  if (p.known.alive()) --alive_;
  peers_.erase(peers_.begin() + static_cast<std::ptrdiff_t>(index_of(p.known.id)));
}

void member_table::change(peer& p, const fact& f) {
  digest_ += stamp_share(f) - stamp_share(p.known);
  if (f.alive() && !p.known.alive()) ++alive_;
  if (!f.alive() && p.known.alive()) --alive_;
  p.known = f;
}

void member_table::suspect(peer& p, accuser who, mono_time now) {
  p.suspected.emplace(who, now);
  suspects_.push_back(&p);
}

void member_table::clear_suspicion(peer& p) {
  if (!p.suspected) return;
  p.suspected.reset();
  std::erase(suspects_, &p);
}

std::uint64_t member_table::newest_version() const {
  std::uint64_t newest = 0;
  for (const auto& p : peers_)
    if (p->known.alive()) newest = std::max(newest, p->known.version);
  return newest;
}

} // namespace skald::dht
