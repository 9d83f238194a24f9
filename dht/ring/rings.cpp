#include "dht/ring/rings.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

constexpr role ringed_roles[] = {role::proxy,     role::registrar, role::relay,        role::presence,
                                 role::xcap,      role::dns,       role::voicemail,    role::rating,
                                 role::provisioning, role::webrtc, role::xmpp,         role::peering};

} // namespace

ring_ptr rings::table_for(std::vector<ring_member> members, const ring_ptr& former, std::vector<ring_ptr>& made) {
  const auto same = [&](const ring_ptr& r) { return r && std::ranges::equal(r->members(), members); };
  if (members.empty()) return empty_;
  // Among those of this update first, so that two roles that became equal share one table.
  const auto shared = std::ranges::find_if(made, same);
  if (shared != made.end()) return *shared;
  made.push_back(same(former) ? former : ring::build(std::move(members), former ? former.get() : nullptr));
  return made.back();
}

bool rings::update(const view& v) {
  bool changed = false;
  std::vector<ring_ptr> made;
  for (const role r : ringed_roles) {
    ring_pair& pair = pairs_[r];
    ring_pair next;
    next.serving = table_for(serving_members(v, r), pair.serving, made);
    next.target = table_for(target_members(v, r), pair.target ? pair.target : pair.serving, made);
    changed = changed || next.serving != pair.serving || next.target != pair.target;
    pair = std::move(next);
  }
  return changed;
}

ring_pair rings::of(role r) const {
  const auto at = pairs_.find(r);
  return at == pairs_.end() ? ring_pair{empty_, empty_} : at->second;
}

} // namespace skald::dht
