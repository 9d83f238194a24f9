#pragma once
// Objects that end inside a call of their own are kept here until the turn's end.
#include "node/io/loop.hpp"

#include <memory>
#include <vector>

namespace skald::node {

template <class T>
class graveyard final : turn_hook {
public:
  explicit graveyard(loop& on) : loop_(on) {}
  ~graveyard() { loop_.undefer(*this); }
  graveyard(const graveyard&) = delete;
  graveyard& operator=(const graveyard&) = delete;

  void bury(std::unique_ptr<T> what) {
    if (dead_.empty()) loop_.defer(*this);
    dead_.push_back(std::move(what));
  }

private:
  void on_turn_end() override {
    std::vector<std::unique_ptr<T>> now; // what ends meanwhile waits for its own turn
    now.swap(dead_);
  }
  loop& loop_;
  std::vector<std::unique_ptr<T>> dead_;
};

} // namespace skald::node
