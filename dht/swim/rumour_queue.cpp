#include "dht/swim/rumour_queue.hpp"

#include <algorithm>
#include <cmath>

namespace skald::dht {
namespace {
constexpr int gossip_ticks_max = 30; // older than that, a rumour is left to the full exchange
} // namespace

rumour rumour_about(const peer& p) {
  rumour r{.about = p.known};
  if (!p.suspected) return r;
  std::ranges::copy(p.suspected->accusers(), r.accusers.begin());
  r.accuser_count = static_cast<std::uint8_t>(p.suspected->accusers().size());
  return r;
}

int transmissions(const profile& p, std::size_t alive) {
  return p.lambda * (static_cast<int>(std::ceil(std::log10(static_cast<double>(alive + 1)))) + 1);
}

void rumour_queue::add(peer& p, mono_time now) {
  if (p.told < 0) queue_.push_back(&p);
  p.told = 0;
  p.news = now;
}

void rumour_queue::forget(const peer& p) { std::erase(queue_, &p); }

void rumour_queue::take(std::vector<rumour>& out, int copies, const profile& p, std::size_t alive, mono_time now) {
  out.clear();
  const auto fresh_first = [](const peer* a, const peer* b) { return a->told < b->told; };
  const auto count = std::min(queue_.size(), swim_rumours_max);
  std::ranges::partial_sort(queue_, queue_.begin() + static_cast<std::ptrdiff_t>(count), fresh_first);
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(rumour_about(*queue_[i]));
    queue_[i]->told += copies;
  }
  const int enough = transmissions(p, alive);
  std::erase_if(queue_, [&](peer* q) {
    const bool done = q->told >= enough || now - q->news > p.gossip * gossip_ticks_max;
    if (done) q->told = -1;
    return done;
  });
}

} // namespace skald::dht
