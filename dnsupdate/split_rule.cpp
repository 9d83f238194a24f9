#include "dnsupdate/split_rule.hpp"

#include <algorithm>

namespace skald::dnsupdate {

void split_rule::observe(const dht::view& v, mono_time now) {
  std::set<node_id> active;
  for (const dht::member& m : v.members) {
    if (m.serving()) active.insert(m.id);
    if (m.state == dht::member_state::left) agreed_.erase(m.id); // who said good-bye is not on another side
  }
  const auto here = static_cast<std::size_t>(std::ranges::count_if(agreed_, [&](const node_id& id) { return active.contains(id); }));
  side_ = 2 * here > agreed_.size() || agreed_.empty() ? split_side::more : 2 * here == agreed_.size() ? split_side::half : split_side::less;
  if (active != candidate_) {
    candidate_ = std::move(active);
    since_ = now;
  }
  if (here == agreed_.size() && (stamps_.empty() || stamps_.back() != v.stamp.text())) {
    stamps_.push_back(v.stamp.text());
    if (stamps_.size() > stamps_kept) stamps_.pop_front();
  }
  if (side_ == split_side::more && now - since_ >= agreed_after) agreed_ = candidate_;
}

} // namespace skald::dnsupdate
