#pragma once
// Who holds what, as this node's view has it, and what this node has yet to merge: for each node that may hold something
// not seen here a bitmap of partitions, its *sources* (consistency.md §4). No I/O. Changes on the cluster thread;
// owner_here() and answers_for() from any thread.
#include "dht/ring/ring.hpp"
#include "dht/view/base.hpp"
#include "dht/view/view.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace skald::dht {

// A bit for each partition; in words, because a view change goes through all of them.
struct partition_set {
  std::array<std::uint64_t, partition_count / 64> words{};

  bool test(partition p) const { return ((words[word(p)] >> bit(p)) & 1) != 0; }
  void set(partition p) { words[word(p)] |= std::uint64_t{1} << bit(p); }
  void reset(partition p) { words[word(p)] &= ~(std::uint64_t{1} << bit(p)); }
  bool none() const { return std::ranges::all_of(words, [](std::uint64_t w) { return w == 0; }); }
  static std::size_t word(partition p) { return static_cast<std::size_t>(p) / 64; }
  static unsigned bit(partition p) { return static_cast<unsigned>(p) % 64; }
};

// Another node that a write goes to.
struct listed_node {
  node_id id;
  bool serving = false;    // in the serving list; else only in the target list
  bool suspect = false;
  bool other_zone = false; // than this node's
};

class placement {
public:
  explicit placement(const node_id& self) : self_(self) {}

  // Takes the next view. Partitions whose lists changed here become unsettled: their sources grow by the living members
  // of the old and the new lists; nodes that are not alive any more are struck off.
  void set(view_ptr v, ring_pair rings);

  // What is counted against from now on. Epoch 0: none is known yet, and the members alive stand for it (decision 14).
  void set_base(const base& b);

  const view_ptr& current() const { return view_; }
  view_stamp stamp() const { return view_ ? view_->stamp : view_stamp{}; }
  bool alive(const node_id& id) const;
  const node_id* owner(const ring_key& k) const; // by the serving ring; nullptr: nobody serves
  bool serving() const { return serving_; }      // this node is active or draining
  bool joining() const;

  // All others in the serving and target lists that are alive.
  std::vector<listed_node> others(partition p) const;
  // All who share a partition with this node in the lists without it, and will hold what it holds once it left.
  std::set<node_id> heirs() const;
  // How many nodes have to hold a write, the owner counted (§3). In a base of one or two all listed nodes that are alive,
  // up to `min_copies`: alone if there is none.
  std::size_t needed(partition p, std::size_t min_copies) const;
  // Members of the base that may hold records: all but those known to have another role only.
  std::size_t base_size() const { return base_size_; }
  // Without the base's other member: what is written now is held once only, which the operator has to see.
  bool alone() const { return serving_ && base_.size() == 2 && others_alive_ == 0; }

  bool settled(partition p) const { return !unsettled_test(p); }
  bool settled() const { return sources_.empty(); }
  std::vector<node_id> sources(partition p) const;
  std::vector<node_id> sources() const;
  // What to ask a source for now. Only what was asked for, and was not added again since, is struck off afterwards.
  std::vector<partition> ask(const node_id& source);
  void strike(const node_id& source, partition p);
  void forget_struck(); // sources of which nothing is left; after a row of strikes

  bool owner_here(const ring_key& k) const;   // any thread
  bool answers_for(const ring_key& k) const;  // any thread
  std::size_t unsettled_count() const;        // partitions; any thread

private:
  struct snapshot { // what other threads see
    ring_pair rings;
    bool active = false;
  };

  struct source {
    partition_set open, asked;
  };

  void grow_sources(const ring_pair& old, const std::vector<node_id>& reborn);
  void recount();
  void count_base();
  bool unsettled_test(partition p) const;

  node_id self_;
  view_ptr view_;
  ring_pair rings_;
  bool serving_ = false;
  dht::base base_;
  std::size_t base_size_ = 0, others_alive_ = 0; // others_alive_: in the rings
  std::map<node_id, source> sources_; // none has an empty `open`
  std::array<std::atomic<std::uint64_t>, partition_count / 64> unsettled_{};
  std::atomic<std::shared_ptr<const snapshot>> seen_;
};

} // namespace skald::dht
