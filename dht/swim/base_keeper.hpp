#pragma once
// When this node may say anew who the cluster is (consistency.md §7). Pure: views, signs of agreement and the time come
// in; membership carries the base to others and to the disk.
//
// - At once when every member of the old base that still counts is here: growing is safe, and so is dropping who left.
// - Who left is dropped at once, whoever else is missing: it does not count any more, and where every node is started
//   again nobody knows that it left (decision 34).
// - Else only with more than half of the old base, after `base_agreed_after` in which the same members were here and
//   all of them showed this node's own view stamp; of a large cluster, over half of the last 16 that it probed. That is
//   what keeps a node that was cut off, and finds one death after the other, from shrinking the base to itself.
// - A joiner sets none: it adopts. Who only joins is not counted either until it is active: it holds nothing yet.
#include "base/clock.hpp"
#include "dht/view/base.hpp"
#include "dht/view/view.hpp"

#include <vector>

namespace skald::dht {

inline constexpr duration base_agreed_after = seconds(10);
inline constexpr std::size_t base_asked_all_max = 16;  // others; a larger cluster is sampled
inline constexpr unsigned base_probes_looked_at = 16;

// Of two bases with one epoch the larger wins, then the one whose ids are greater: any order will do, if it is one.
bool newer(const base& a, const base& b);

class base_keeper {
public:
  explicit base_keeper(base known) { replace(std::move(known)); }

  const base& current() const { return base_; }
  std::uint32_t check() const { return check_; } // of the members: two bases of one epoch differ in it

  // What another member told, or the disk. True: it is newer, and is the base now.
  bool adopt(const base& b, mono_time now);
  // A new view. `entitled`: this node is active or draining, and does not doubt its view. True: the base was set.
  bool look(view_ptr v, bool entitled, mono_time now);
  // A member's datagram carried this node's own stamp, or another one.
  void showed(const node_id& member, bool own_stamp, mono_time now);
  // A probe of this node's ended: with an answer that carried its own stamp, or otherwise.
  void probed(bool own_stamp, mono_time now);
  // Once a second. True: the base was set.
  bool settle(mono_time now);
  // The operator's word that the others are gone for good: whoever is here is the base.
  void accept(mono_time now);

  // Of the base: those who neither left nor were revoked, and those of them who are in the view.
  std::size_t counted() const { return counted_; }
  std::size_t here() const { return here_; }
  bool majority() const { return 2 * here_ > counted_; }
  // Alone in the view, with a base of three or more: this node has to step out.
  bool isolated() const { return alive_ <= 1 && counted_ >= 3; }

private:
  void replace(base b);
  void count();
  bool consider(mono_time now);
  bool agreed() const;
  void set(std::vector<node_id> members, mono_time now);
  void begin_anew(mono_time now);

  base base_;
  std::uint32_t check_ = 0;
  view_ptr view_;
  bool entitled_ = false, suspects_ = false;
  std::vector<node_id> candidate_, scratch_; // sorted
  std::vector<bool> shown_;                  // beside candidate_: showed our stamp since since_
  std::size_t counted_ = 0, here_ = 0, alive_ = 0;
  mono_time since_{};
  std::uint32_t probes_ = 0;                 // bit per probe, the latest lowest: 1 = our stamp
  unsigned probes_seen_ = 0;
};

} // namespace skald::dht
