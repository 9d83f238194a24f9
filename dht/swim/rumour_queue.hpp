#pragma once
// What still has to be told, and how often (ring-and-membership B1.6). A rumour is not stored: it is made from what is
// known about its subject when it is sent, so it is never older than that. One thread.
#include "dht/swim/member_table.hpp"
#include "dht/swim/wire.hpp"

namespace skald::dht {

rumour rumour_about(const peer& p);

class rumour_queue {
public:
  // There is news about `p`: begin to tell it, or begin anew.
  void add(peer& p, mono_time now);
  void forget(const peer& p);

  bool empty() const { return queue_.empty(); }
  // The ones told least, as many as a datagram takes. `copies`: to how many members it goes.
  void take(std::vector<rumour>& out, int copies, const profile& p, std::size_t alive, mono_time now);

private:
  std::vector<peer*> queue_;
};

// How often each rumour is sent in a cluster of this many.
int transmissions(const profile& p, std::size_t alive);

} // namespace skald::dht
