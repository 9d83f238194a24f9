#pragma once
// The nodes that may hold something this node has not seen, as one bitmap of partitions each (consistency.md §4), and the
// copies that may lack something this node has acknowledged as owner (§3 "behind"). No I/O. Cluster thread.
#include "base/clock.hpp"
#include "dht/store/partition_set.hpp"

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace skald::dht {

// As many as a view may know; of what others tell no more are taken.
inline constexpr std::size_t sources_max = 8192;

// A source as others and the disk are told of it.
struct told_source {
  node_id id;
  unix_ms since = 0; // cluster time of the last list change that added it: uniting makes it no younger
  partition_set open;
  bool operator==(const told_source&) const = default;
};

class source_sets {
public:
  // 64 partitions of one source. Only those with anything set are kept: two of a thousand nodes share few partitions, and
  // a node has some hundred sources then.
  struct word {
    std::uint16_t index = 0; // of partition_set's words
    std::uint64_t open = 0;  // to be merged with
    std::uint64_t asked = 0; // of those: a merge is under way
    std::uint64_t merged = 0; // under the present stamp
    std::uint64_t guessed = 0; // of those open: by suspect() alone
  };

  explicit source_sets(const node_id& self) : self_(self) {}

  // A list change makes `id` a source of p. A merge that is under way does not strike it off any more.
  void add(const node_id& id, partition p, unix_ms now);
  // Of whom nothing is known but the id: it may hold any of these, until cleared() says that its lists can be told.
  void suspect(const node_id& id, const partition_set& of, unix_ms now);
  void cleared(const node_id& id);
  // Takes over another's sources, within `of`: except this node itself, and what it has merged with under the view stamp
  // that it has now (or uniting would never end).
  void unite(std::span<const told_source> others, const partition_set& of);
  void stamp_changed(); // what was merged with before was merged with under another stamp

  std::optional<partition_set> open(const node_id& id) const; // nullopt: no source
  // A merge of these begins; what is added again later is not struck off by it.
  void asked(const node_id& id, const partition_set& of);
  // Merged, all of it on disk here. `same_stamp`: the view is that under which the merge began.
  void strike(const node_id& id, const partition_set& of, bool same_stamp);
  void forget(const node_id& id);
  void forget(const partition_set& of, const std::function<bool(const node_id&)>& which);

  std::vector<node_id> of(partition p) const;
  std::vector<told_source> all() const;                         // those with anything open
  std::vector<told_source> within(const partition_set& of, bool guessed_too) const;
  bool open_within(const node_id& id, const partition_set& of) const;
  template <class F>
  void for_each(F&& f) const { // (id, its words in ascending order, since)
    for (const auto& [id, s] : sources_) f(id, std::span<const word>(s.words), s.since);
  }

private:
  struct source {
    std::vector<word> words; // ascending
    unix_ms since = 0;
    word& at(std::size_t index); // a new one, if there is none
  };
  void drop_empty();

  node_id self_;
  std::map<node_id, source> sources_;
};

// Copies that were skipped, did not acknowledge, or whose link broke: until a merge that began after the mark is confirmed.
class behind_marks {
public:
  void mark(const node_id& copy, partition p);
  void asked(const node_id& copy, const partition_set& of); // the copy's merge with this node begins
  void asked_more(const node_id& copy, const partition_set& of); // and asks for these too
  void confirmed(const node_id& copy);                      // and is on its disk
  void keep_only(const std::function<bool(const node_id&, partition)>& listed); // after a list change
  const partition_set* of(const node_id& copy) const;
  bool any_in(const partition_set& of) const;
  bool none() const { return copies_.empty(); }
  std::vector<node_id> copies() const;
  std::size_t count() const;

private:
  struct copy {
    partition_set open, asked;
  };
  std::map<node_id, copy> copies_; // none without anything open
};

} // namespace skald::dht
