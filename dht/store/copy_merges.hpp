#pragma once
// Merging whole partitions with their other holders (consistency.md §4): the asker names partitions and its digests, the
// holder sends the records of those that differ, page by page. Both ends of a list change ask, so it goes both ways.
// Comparing sub-ranges instead of sending a partition whole comes later. Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/messages.hpp"

#include <functional>
#include <map>
#include <optional>
#include <set>

namespace skald::dht {

class copy_merges {
public:
  // `commit`: puts what was merged on disk; false: it could not be.
  copy_merges(store_context& c, std::function<bool()> commit) : c_(c), commit_(std::move(commit)) {}

  void on_view();
  void on_link_up(const node_id& peer);
  void on_link_down(const node_id& peer);
  void tick();

  // As asker. True: nothing is left to merge, which was not so before.
  bool on_page(const node_id& from, const store_copy& page);

  // As holder.
  void on_request(const node_id& from, store_copy_request q);
  void on_done(const node_id& from);

  // For a leaver: all who will hold what it held have merged with it since it began to drain.
  bool heirs_have_it() const;

private:
  struct pull {
    std::uint64_t number = 0;
    std::vector<partition> partitions;
    std::uint32_t through = 0;
    mono_time heard;
  };
  struct job { // a page at a time, so that neither the loop nor the link's queue is flooded
    store_copy_request question;
    std::uint32_t index = 0;
    std::vector<record> rest; // of the partition at `index`, from `at` on
    std::size_t at = 0;
    bool opened = false;
    std::optional<frame> unsent;
  };

  void ask(const node_id& peer);
  void ask_idle();
  void step(const node_id& peer, std::uint64_t number);
  store_copy next_page(job& j) const;
  void note_draining();

  store_context& c_;
  std::function<bool()> commit_;
  std::map<node_id, pull> pulls_;
  std::map<node_id, job> jobs_;
  bool draining_ = false;
  std::set<node_id> heirs_, served_;
};

} // namespace skald::dht
