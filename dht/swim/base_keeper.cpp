#include "dht/swim/base_keeper.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace skald::dht {
namespace {

// FNV-1a; it only has to tell two bases of one epoch apart.
std::uint32_t check_of(const std::vector<node_id>& members) {
  std::uint32_t h = 2166136261U;
  for (const node_id& id : members)
    for (const char c : id.view()) h = (h ^ static_cast<std::uint8_t>(c)) * 16777619U;
  return h;
}

constexpr std::uint32_t probe_bits = (1U << base_probes_looked_at) - 1;

} // namespace

bool newer(const base& a, const base& b) {
  if (a.epoch != b.epoch) return a.epoch > b.epoch;
  if (a.members.size() != b.members.size()) return a.members.size() > b.members.size();
  return a.members > b.members;
}

void base_keeper::replace(base b) {
  base_ = std::move(b);
  check_ = check_of(base_.members);
}

bool base_keeper::adopt(const base& b, mono_time now) {
  if (!newer(b, base_)) return false;
  replace(b);
  count();
  begin_anew(now);
  return true;
}

bool base_keeper::look(view_ptr v, bool entitled, mono_time now) {
  view_ = std::move(v);
  entitled_ = entitled;
  scratch_.swap(candidate_);
  count();
  if (candidate_ != scratch_) begin_anew(now);
  return consider(now);
}

// Who would be the base now, and how the base stands in this view.
void base_keeper::count() {
  candidate_.clear();
  counted_ = base_.size();
  here_ = alive_ = 0;
  suspects_ = false;
  if (!view_) return;
  for (const member& m : view_->members) {
    const bool based = base_.contains(m.id);
    if (m.state == member_state::left && based) --counted_;
    if (!m.alive()) continue;
    ++alive_;
    here_ += based ? 1 : 0;
    if (!based && !m.serving()) continue;
    candidate_.push_back(m.id);
    suspects_ = suspects_ || m.suspect;
  }
}

void base_keeper::begin_anew(mono_time now) {
  since_ = now;
  probes_ = probes_seen_ = 0;
  shown_.assign(candidate_.size(), false);
}

void base_keeper::showed(const node_id& member, bool own_stamp, mono_time now) {
  if (candidate_.size() > base_asked_all_max + 1) return; // judged by probes
  const auto at = std::ranges::lower_bound(candidate_, member);
  if (at == candidate_.end() || *at != member) return;
  if (!own_stamp) return begin_anew(now);
  shown_[static_cast<std::size_t>(at - candidate_.begin())] = true;
}

void base_keeper::probed(bool own_stamp, mono_time now) {
  probes_ = ((probes_ << 1) | (own_stamp ? 1U : 0U)) & probe_bits;
  probes_seen_ = std::min(probes_seen_ + 1, base_probes_looked_at);
  const bool mostly_not = 2 * (probes_seen_ - static_cast<unsigned>(std::popcount(probes_))) > base_probes_looked_at;
  if (mostly_not && candidate_.size() > base_asked_all_max + 1) begin_anew(now);
}

bool base_keeper::agreed() const {
  if (candidate_.size() > base_asked_all_max + 1) return 2 * static_cast<unsigned>(std::popcount(probes_)) > base_probes_looked_at;
  for (std::size_t i = 0; i < candidate_.size(); ++i)
    if (!shown_[i] && candidate_[i] != view_->self) return false;
  return true;
}

bool base_keeper::consider(mono_time now) {
  if (!entitled_ || !view_ || candidate_ == base_.members || base_.epoch >= base_epoch_max) return false;
  if (here_ == counted_ || (majority() && !suspects_ && now - since_ >= base_agreed_after && agreed())) {
    set(candidate_, now);
    return true;
  }
  if (counted_ == base_.size()) return false;
  auto rest = base_.members;
  std::erase_if(rest, [this](const node_id& id) {
    const member* m = view_->find(id);
    return m != nullptr && m->state == member_state::left;
  });
  set(std::move(rest), now);
  return true;
}

bool base_keeper::settle(mono_time now) { return consider(now); }

void base_keeper::set(std::vector<node_id> members, mono_time now) {
  replace({base_.epoch + 1, std::move(members)});
  count();
  begin_anew(now);
}

void base_keeper::accept(mono_time now) {
  if (!view_ || base_.epoch >= base_epoch_max) return;
  if (!std::ranges::binary_search(candidate_, view_->self)) candidate_.insert(std::ranges::upper_bound(candidate_, view_->self), view_->self);
  set(candidate_, now);
}

} // namespace skald::dht
