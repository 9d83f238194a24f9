#pragma once
// Merging, as the one who asks (consistency.md §4): with each source, what that one has and this node lacks. Digests
// first, level by level; then what differs, in portions. A partition is in one merge at a time, so that what several
// sources have comes once. Also at a copy that the owner holds for behind, and once a minute with every other holder.
// Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/merge_messages.hpp"

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace skald::dht {

class merge_asker {
public:
  // `commit`: puts what was merged on disk; false: it could not be. `settled`: nothing is left to merge.
  merge_asker(store_context& c, std::function<bool()> commit, std::function<void()> settled)
      : c_(c), commit_(std::move(commit)), settled_(std::move(settled)) {}

  void on_view();
  void on_facts(const node_id& peer);
  void on_link_up(const node_id& peer);
  void on_link_down(const node_id& peer);
  void tick();
  // Merge these with that node, though it is no source.
  void please(const node_id& peer, const partition_set& parts);

  void on_compared(const node_id& from, const store_compared& a);
  void on_page(const node_id& from, const store_copy& page);

  std::size_t running() const { return sessions_.size(); }

private:
  enum class waiting_for : std::uint8_t { comparison, facts, records };
  struct session {
    std::uint64_t number = 0;
    partition_set parts, pleased; // still to be done; of them, those that were asked for by please()
    view_stamp began_under;
    unix_ms cut = 0;
    mono_time heard;
    waiting_for what = waiting_for::comparison;
    bool background = false, different = false;
    std::vector<partition> differing;
    std::size_t next = 0;            // of `differing`
    store_copy_request portion;      // under way; or in the making, while sub-ranges are compared
    std::vector<std::uint32_t> deep; // partitions of the portion whose sub-ranges are compared
    std::size_t through = 0;
  };
  using session_map = std::map<node_id, session>;

  void schedule();
  void begin(const node_id& peer, const partition_set& parts);
  bool compare(const node_id& peer, session& s, compare_level level, std::vector<std::uint32_t> covered);
  bool begin_comparing(const node_id& peer, session& s);
  void on_differing(session_map::iterator at, const store_compared& a);
  bool done_with(const node_id& peer, session& s, const partition_set& parts);
  void next_portion(session_map::iterator at);
  void add_to_portion(session& s, partition p, std::size_t& bytes);
  void take_sub_ranges(session& s, const std::vector<std::uint32_t>& differ);
  void ask_portion(session_map::iterator at);
  void finish(session_map::iterator at);
  session_map::iterator give_up(session_map::iterator at); // begins again later
  void note_background();
  void compare_in_background();
  std::vector<held_item> held(partition p, std::optional<std::size_t> sub_range) const;
  partition_set wanted(const node_id& peer) const;

  store_context& c_;
  std::function<bool()> commit_;
  std::function<void()> settled_;
  session_map sessions_;
  std::map<node_id, partition_set> pleased_;
  std::map<node_id, mono_time> rests_until_;     // after it was silent
  struct turn {
    mono_time due;
    node_id id;
  };
  std::deque<turn> background_;        // the soonest first: each comes again after the same time
  std::vector<node_id> background_of_; // whom it has, sorted
  std::set<node_id> in_background_;              // of pleased_: all shared partitions, for the comparison of the minute
};

} // namespace skald::dht
