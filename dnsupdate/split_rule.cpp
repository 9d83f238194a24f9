#include "dnsupdate/split_rule.hpp"

namespace skald::dnsupdate {

void split_rule::observe(const dht::view& v, const dht::base& b) {
  std::size_t here = 0, counted = b.size();
  for (const dht::member& m : v.members) {
    if (!b.contains(m.id)) continue;
    if (m.alive()) ++here;
    if (m.state == dht::member_state::left) --counted; // who said good-bye is not on another side
  }
  side_ = 2 * here > counted || counted == 0 ? split_side::more : 2 * here == counted ? split_side::half : split_side::less;
  if (here == counted && (stamps_.empty() || stamps_.back() != v.stamp.text())) {
    stamps_.push_back(v.stamp.text());
    if (stamps_.size() > stamps_kept) stamps_.pop_front();
  }
}

} // namespace skald::dnsupdate
