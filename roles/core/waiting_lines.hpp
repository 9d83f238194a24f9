#pragma once
// Where requests wait for their turn at an edge, one line for each urgency, oldest first; who is next, admission says.
// No I/O. One per worker. Bounded by number and bytes, so that they are no queue that grows.
#include "roles/core/admission.hpp"

#include <deque>
#include <utility>

namespace skald::roles {

inline constexpr std::size_t line_requests_max = 16'384;  // in one line
inline constexpr std::size_t line_bytes_max = 8 << 20;    // in one line

// `Item` is movable.
template <class Item>
class waiting_lines {
public:
  struct taken {
    Item item;
    urgency line;
    fate what;
  };

  bool empty() const { return count_ == 0; }
  std::size_t size(urgency u) const { return of(u).items.size(); }
  // Whether one more finds a place. If not, admission::turn_away() has the word.
  bool has_place(urgency u, std::size_t bytes) const {
    return of(u).items.size() < line_requests_max && of(u).bytes + bytes <= line_bytes_max;
  }
  // `came`: now; how long it waited before it was read is not what a line can shorten. Only where there is a place.
  void push(urgency u, Item item, std::size_t bytes, mono_time came) {
    line& l = of(u);
    l.items.push_back({std::move(item), bytes, came});
    l.bytes += bytes;
    ++count_;
  }
  // Nothing: nobody waits, or nobody can be served now.
  std::optional<taken> next(admission& control, mono_time now) {
    admission::waits heads;
    for (std::size_t i = 0; i < urgencies; ++i)
      heads[i] = lines_[i].items.empty() ? duration{-1} : std::max(now - lines_[i].items.front().came, duration{0});
    const auto d = control.next(heads, now);
    if (!d) return std::nullopt;
    line& l = of(d->line);
    taken t{std::move(l.items.front().item), d->line, d->what};
    l.bytes -= l.items.front().bytes;
    l.items.pop_front();
    --count_;
    return t;
  }

private:
  struct waiting {
    Item item;
    std::size_t bytes;
    mono_time came;
  };
  struct line {
    std::deque<waiting> items;
    std::size_t bytes = 0;
  };
  line& of(urgency u) { return lines_[static_cast<std::size_t>(u)]; }
  const line& of(urgency u) const { return lines_[static_cast<std::size_t>(u)]; }

  std::array<line, urgencies> lines_;
  std::size_t count_ = 0;
};

} // namespace skald::roles
