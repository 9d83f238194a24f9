#include "dht/swim/cluster_clock.hpp"

#include <algorithm>
#include <cstdlib>

namespace skald::dht {
namespace {

constexpr std::int64_t heard_worth = 1'000'000; // µs; below, a sample with half its round trip added is the better one

} // namespace

void cluster_clock::sample(const node_id& member, unix_ms theirs, mono_time now) { members_[member] = offset_of(now, theirs); }

void cluster_clock::heard(const node_id& member, unix_ms theirs, mono_time now) {
  const std::int64_t said = offset_of(now, theirs);
  const auto [at, fresh] = members_.try_emplace(member, said);
  if (!fresh && std::abs(at->second - said) > heard_worth) at->second = said;
}

void cluster_clock::forget(const node_id& member) { members_.erase(member); }

// The lower one of the middle two of an even number: two members must not each follow the other.
std::int64_t cluster_clock::median() {
  sorted_.assign(1, own_);
  for (const auto& [id, offset] : members_) sorted_.push_back(offset);
  const auto middle = sorted_.begin() + static_cast<std::ptrdiff_t>((sorted_.size() - 1) / 2);
  std::ranges::nth_element(sorted_, middle);
  return *middle;
}

void cluster_clock::adjust(mono_time now, unix_ms own_clock) {
  own_ = offset_of(now, own_clock);
  median_ = median();
  // After a sleep of hours one adjustment still moves by no more than a minute's slew.
  const duration passed = adjusted_ == mono_time{} ? duration::zero() : std::min<duration>(now - adjusted_, seconds(60));
  adjusted_ = now;
  const std::int64_t most = passed.count() * slew_ppm / 1'000'000;
  offset_ = offset_ + std::clamp(median_ - offset_, -most, most);
}

} // namespace skald::dht
