#pragma once
// Model phones that speak to the store directly, by the registrar's rule: each item is one phone's binding (or one
// subscriber's data), written through any node, refreshed, removed, looked up at any node.
#include "tests/sim/cluster.hpp"
#include "tests/sim/model.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace skald::sim {

struct phone_counts {
  std::size_t asked = 0, acknowledged = 0, failed = 0, unanswered = 0, refused = 0, overloaded = 0; // overloaded: of the failed
  std::size_t reads = 0, firm = 0, wrong = 0; // wrong: firm answers that were, where they need not be right
};

class store_phones {
public:
  store_phones(cluster& home, model& m);

  void start();
  void hold(bool quiet) { held_ = quiet; } // nothing new begins
  bool idle() const { return under_way_ == 0; }
  const phone_counts& counts() const { return counts_; }

  // Whether a wrong firm answer, asked for at `from`, breaks a promise or is only counted.
  std::function<bool(mono_time from)> firm_must_be_right;

private:
  struct phone {
    item_id item;
    unix_ms grant_ms = 0;
    bool forwarded = false; // by put() from any node; else at the owner, with the rule
  };
  void act(std::size_t phone);
  void look();
  void write_by_rule(machine& edge, const phone& p, operation::kind what, op_number n);
  void write_forwarded(machine& edge, const phone& p, operation::kind what, op_number n);
  void at_owner(machine& owner, const phone& p, operation::kind what, op_number n, std::function<void(dht::write_result)> answer);
  void answered(op_number n, const dht::write_result& r, const phone& p, bool alone);
  void give_up(op_number n);
  void go_on(op_number n); // it is over: the phone's next one follows
  void hop(machine_id from, machine_id to, std::function<void()> f);
  machine* any_machine();
  duration pause();

  cluster& home_;
  model& model_;
  seeded_rng random_;
  std::vector<phone> phones_;
  std::map<op_number, std::size_t> by_phone_; // of operations under way
  duration mean_;
  phone_counts counts_;
  std::size_t under_way_ = 0;
  bool held_ = false;
};

} // namespace skald::sim
