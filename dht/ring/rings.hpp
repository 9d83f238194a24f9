#pragma once
// The rings of all roles for the present view, each made from the last one. Roles with equal member sets share a table.
// Build on the cluster thread; the pairs themselves are immutable and go to any thread.
#include "dht/ring/ring.hpp"

#include <map>

namespace skald::dht {

class rings {
public:
  // Makes what the view changed; returns whether any table did change.
  bool update(const view& v);
  // Never nulls: before the first update, empty rings.
  ring_pair of(role r) const;

private:
  ring_ptr table_for(std::vector<ring_member> members, const ring_ptr& former, std::vector<ring_ptr>& made);

  std::map<role, ring_pair> pairs_;
  ring_ptr empty_ = ring::build({});
};

} // namespace skald::dht
