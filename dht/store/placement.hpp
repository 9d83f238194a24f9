#pragma once
// Who holds what, as this node's view has it, and whether this node has seen all that was acknowledged (consistency.md
// §3, §4). No I/O. Changes on the cluster thread; owner_here() and answers_for() from any thread.
#include "dht/ring/ring.hpp"
#include "dht/store/sources.hpp"
#include "dht/store/store.hpp"
#include "dht/view/base.hpp"
#include "dht/view/view.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace skald::dht {

// Another node that a write goes to.
struct listed_node {
  node_id id;
  bool serving = false;    // in the serving list; else only in the target list
  bool suspect = false;
  bool other_zone = false; // than this node's
};

// A node that this one has yet to merge with, for the operator.
struct missing_source {
  node_id id;
  bool alive = false;      // a merge is under way or waits; dead: only its return, or giving up, ends it
  unix_ms since = 0;       // cluster time
  std::size_t partitions = 0;
};

inline constexpr std::size_t ring_members_max = 65'000; // of a saved list

class placement {
public:
  explicit placement(const node_id& self) : self_(self), sources_(self) {}

  // What the disk has of an earlier life: the lists and sources that it had, before the first view. False: not readable.
  bool restore(std::string_view saved);
  std::string save() const;
  bool changed() { return std::exchange(dirty_, false); } // something to be saved, since the last call

  // Takes the next view. `now`: cluster time. Partitions whose lists changed here become unsettled: their sources grow by
  // all members of the old and the new lists; by those of the lists with and without whoever missed a death of its own.
  // True: the lists are others than before.
  bool set(view_ptr v, ring_pair rings, unix_ms now);
  // What is counted against from now on. Epoch 0: none is known yet, and the members alive stand for it (decision 14).
  // A joiner's old lists are those of the base.
  void set_base(const base& b, unix_ms now);
  void set_min_copies(std::size_t n, unix_ms now);
  void turn(unix_ms now); // each second: what is forgotten by time

  const view_ptr& current() const { return view_; }
  view_stamp stamp() const { return view_ ? view_->stamp : view_stamp{}; }
  bool alive(const node_id& id) const;
  const node_id* owner(const ring_key& k) const; // by the serving ring; nullptr: nobody serves
  bool owns(const ring_key& k) const;
  bool serving() const { return serving_; }      // this node is active or draining
  bool joining() const;
  bool compares(const node_id& id) const;        // its version knows digests, and says what it is

  // All others in the serving and target lists that are alive.
  std::vector<listed_node> others(partition p) const;
  bool listed(const node_id& id, partition p) const; // in the serving or target list
  const partition_set& listed() const { return listed_; } // this node is
  partition_set shared(const node_id& other) const;   // both are
  // All who share a partition with this node in the lists without it, and will hold what it holds once it left.
  std::set<node_id> heirs() const;
  // How many nodes have to hold a write, the owner counted (§3). In a base of one or two all listed nodes that are alive,
  // up to min_copies: alone if there is none.
  std::size_t needed(partition p) const;
  // How many of those who may hold more may be silent, and a "no" be firm all the same (§4): w − 1; in a base of one or
  // two none.
  std::size_t silent_max() const;
  // Members of the base that may hold records: all but those known to have another role only.
  std::size_t base_size() const { return base_size_; }
  // No member of the base is dead, as far as is seen here: nobody serves on the other side of a cut.
  bool base_here() const { return base_here_; }
  // Without the base's other member: what is written now is held once only, which the operator has to see.
  bool alone() const { return serving_ && base_.size() == 2 && others_alive_ == 0; }

  bool settled(partition p) const { return !test(unsettled_, p); }
  bool settled() const;                       // everywhere: every live source is merged with
  bool complete(partition p, table t) const;  // and few enough are dead
  std::vector<node_id> sources(partition p) const; // dead ones too
  std::vector<node_id> live_sources() const;
  const source_sets& all_sources() const { return sources_; }
  // What another that merges with this node is told. A joiner keeps its guesses about strangers to itself: who else knows as
  // little guesses the same, and whoever has been there knows better.
  std::vector<told_source> told_sources(const partition_set& of) const { return sources_.within(of, !joining()); }
  // A merge begins, ends (`same_stamp`: under the view that it began under); another's sources come with it.
  // A joiner that knows of living members of the base no more than their ids, and waits for the rest: nothing is merged.
  bool learning() const { return learning_; }
  void ask(const node_id& source, const partition_set& of) { sources_.asked(source, of); }
  void strike(const node_id& source, const partition_set& of, const view_stamp& began_under, unix_ms now);
  void unite(std::span<const told_source> others, const partition_set& of, unix_ms now);
  void unlist(const partition_set& dropped); // what was held there is dropped: so is what was missing
  // Gives up what dead sources hold; returns who they were.
  std::vector<node_id> accept_loss(unix_ms now);

  bool owner_here(const ring_key& k) const;   // any thread
  bool answers_for(const ring_key& k) const;  // any thread: for every table
  bool answers_for(table t, const ring_key& k) const;
  std::size_t unsettled_count() const;        // partitions; any thread
  std::size_t incomplete_count() const;       // settled, but too many of those who may hold more are dead; any thread
  std::vector<missing_source> missing() const;

private:
  using bitmap = std::array<std::atomic<std::uint64_t>, partition_count / 64>;
  struct snapshot { // what other threads see
    ring_pair rings;
    bool active = false;
  };

  static bool test(const bitmap& b, partition p);
  bool answers(const bitmap& doubt, const ring_key& k) const;
  bool gone_for_good(const node_id& id) const; // it left or was revoked
  ring_pair former_rings();
  void note_listed();
  void grow_by_changes(const ring_pair& old, const std::set<node_id>& returned, unix_ms now);
  void grow_by_missed_death(const node_id& risen, unix_ms now);
  void grow_by_base(unix_ms now);
  void look_at_strangers(unix_ms now);
  void recount(unix_ms now);
  void count_base();

  node_id self_;
  view_ptr view_;
  ring_pair rings_;
  struct {
    std::vector<ring_member> serving, target;
  } former_; // the members of an earlier life's rings, until the first view
  bool learning_ = false, serving_ = false, dirty_ = false, first_ = true;
  dht::base base_;
  std::size_t base_size_ = 0, others_alive_ = 0; // others_alive_: in the rings
  bool base_here_ = true;
  std::set<node_id> strangers_; // of the base, when it was looked at: of them no more was known than the id
  std::size_t min_copies_ = 2;
  partition_set listed_;
  source_sets sources_;
  bitmap unsettled_{}, doubtful_{}, doubtful_volatile_{};
  std::atomic<std::shared_ptr<const snapshot>> seen_;
};

} // namespace skald::dht
