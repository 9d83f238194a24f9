#include "base/scheduler.hpp"

#include <algorithm>
#include <utility>

namespace skald {

bool scheduler::later(const entry& a, const entry& b) {
  return a.deadline != b.deadline ? a.deadline > b.deadline : a.sequence > b.sequence;
}

timer_id scheduler::at(mono_time deadline, action what) {
  const std::uint64_t id = next_++;
  actions_.emplace(id, std::move(what));
  heap_.push_back({deadline, id});
  std::push_heap(heap_.begin(), heap_.end(), later);
  return timer_id{id};
}

bool scheduler::cancel(timer_id id) {
  const bool was_pending = actions_.erase(std::to_underlying(id)) != 0;
  // A cancelled entry stays in the heap until its turn; when these outnumber the living, the heap is swept.
  if (heap_.size() > 64 && heap_.size() > 2 * actions_.size()) {
    std::erase_if(heap_, [this](const entry& e) { return !actions_.contains(e.sequence); });
    std::make_heap(heap_.begin(), heap_.end(), later);
  }
  return was_pending;
}

void scheduler::drop_cancelled() {
  while (!heap_.empty() && !actions_.contains(heap_.front().sequence)) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
  }
}

std::size_t scheduler::run_due(mono_time now) {
  std::size_t ran = 0;
  for (;;) {
    drop_cancelled();
    if (heap_.empty() || heap_.front().deadline > now) return ran;
    const auto found = actions_.find(heap_.front().sequence);
    action what = std::move(found->second);
    actions_.erase(found);
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
    what();
    ++ran;
  }
}

std::optional<mono_time> scheduler::next_deadline() {
  drop_cancelled();
  if (heap_.empty()) return std::nullopt;
  return heap_.front().deadline;
}

} // namespace skald
