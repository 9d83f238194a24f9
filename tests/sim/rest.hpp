#pragma once
// What must hold once everything is healed and has had its time (consistency.md §9: invariants 1, 2, 3, 8).
#include "tests/sim/cluster.hpp"
#include "tests/sim/model.hpp"

#include <string>

namespace skald::sim {

class faults;
class store_phones;

class rest {
public:
  rest(cluster& home, model& m, const faults& f, store_phones& p) : home_(home), model_(m), faults_(f), phones_(p) {}

  // Holds the phones, runs until the cluster is quiet, and looks at it. False: something was wrong, and home.fail() knows it.
  bool reach(duration limit);
  std::size_t reached() const { return reached_; }

private:
  std::string unrest() const; // why it is not quiet yet; empty: it is
  void accept_losses();
  void accept_base();
  void ask_everybody();
  void compare_lists();
  void compare_copies();
  void look_for_growth();

  cluster& home_;
  model& model_;
  const faults& faults_;
  store_phones& phones_;
  std::size_t reached_ = 0;
};

} // namespace skald::sim
