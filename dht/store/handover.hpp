#pragma once
// When a node may go, or let go (consistency.md §3 "behind"): it leaves, and drops a partition that it is not listed for
// any more, only when each listed node has confirmed what it was sent, is settled under the same view stamp, and none is
// behind; dropping waits a minute more. What it holds of partitions that it is not listed for, others may lack: they
// are behind until they have merged with it (decision 37). Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/merge_messages.hpp"
#include "dht/store/owner_writes.hpp"

#include <map>
#include <optional>
#include <set>

namespace skald::dht {

class handover {
public:
  handover(store_context& c, const owner_writes& writes) : c_(c), writes_(writes) {}

  void on_view(bool lists_changed);
  void on_state(const node_id& from, const store_state& m);
  // It has all that this node had. Of an earlier version that is all that it says of itself.
  void on_merged(const node_id& from);
  void tick();
  // For a leaver (draining).
  bool handed_over() const;

private:
  struct batch {
    partition_set parts;
    mono_time due;
  };

  void ask(const std::set<node_id>& nodes);
  bool confirmed(const std::set<node_id>& nodes) const; // settled under this node's view; the dead are not waited for
  void offer_unlisted();
  void look_for_unlisted();
  void drop_some();

  store_context& c_;
  const owner_writes& writes_;
  bool draining_ = false;
  std::set<node_id> heirs_;
  std::map<node_id, view_stamp> settled_; // and the view under which they said so
  std::set<node_id> merged_;              // of an earlier version, since this node began to drain
  std::optional<batch> unlisted_;         // confirmed; to be dropped when due
  partition_set offered_;                 // held, not listed for, and the listed nodes were marked as behind
  partition_set dropping_;
  mono_time looked_{};
};

} // namespace skald::dht
