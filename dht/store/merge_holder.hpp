#pragma once
// Merging, as the one who is asked (consistency.md §4): compares digests, and sends what the asker lacks, page by page.
// Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/merge_messages.hpp"

#include <map>
#include <optional>

namespace skald::dht {

// Of one level; 0 is left out.
store_compare::digest_list digests_of(const memory_tables& t, const partition_set& parts, unix_ms cut, compare_level level,
                                      const std::vector<std::uint32_t>& covered);

class merge_holder {
public:
  explicit merge_holder(store_context& c) : c_(c) {}

  void on_compare(const node_id& from, const store_compare& q);
  void on_request(const node_id& from, store_copy_request q);
  void on_done(const node_id& from, const store_copy_done& d);
  void on_facts(const node_id& peer); // it has shown its whole list of members, after whatever it sent before
  void on_view();
  void on_link_down(const node_id& peer);

private:
  struct session {
    std::uint64_t number = 0;
    partition_set parts;
    unix_ms cut = 0;
    bool whole = false; // nothing was compared: `parts` grow with what is asked for
  };
  struct job { // a page at a time, so that neither the loop nor the link's queue is flooded
    store_copy_request question;
    std::size_t index = 0, range = 0;
    std::vector<record> rest; // of the partition at `index`, from `at` on
    std::size_t at = 0;
    bool opened = false;
    std::optional<frame> unsent;
  };
  enum class facts : std::uint8_t { wanted, heard };

  void note_whole(const node_id& from, const store_copy_request& q);
  bool views_agree(const node_id& from, const store_compare& q);
  void open(job& j) const;
  store_copy next_page(job& j) const;
  void step(const node_id& peer, std::uint64_t number);

  store_context& c_;
  std::map<node_id, session> sessions_;
  std::map<node_id, job> jobs_;
  std::map<node_id, facts> facts_; // of askers whose view differed
};

} // namespace skald::dht
