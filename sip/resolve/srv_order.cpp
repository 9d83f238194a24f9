#include "sip/resolve/srv_order.hpp"

#include <algorithm>
#include <span>
#include <string_view>
#include <tuple>

namespace skald::sip {

namespace {

bool is_root(const srv_record& r) {
  return r.target.empty() || r.target == ".";
}

// RFC 2782, "Weight": draw from the running sums. Those of weight 0 stand first, so that they have a small chance too.
void shuffle_by_weight(std::span<srv_record> group, rng& random) {
  for (; group.size() > 1; group = group.subspan(1)) {
    std::uint64_t total = 0;
    for (const srv_record& r : group)
      total += r.weight;
    const std::uint64_t drawn = random.below(total + 1);
    std::uint64_t sum = 0;
    auto chosen = group.begin();
    while ((sum += chosen->weight) < drawn)
      ++chosen;
    std::rotate(group.begin(), chosen, chosen + 1); // the others keep their order: weight 0 stays first
  }
}

} // namespace

std::vector<srv_record> order_srv(std::vector<srv_record> records, rng& random) {
  if (records.size() > srv_records_max) records.resize(srv_records_max);
  std::erase_if(records, is_root);
  // The rest of the key makes the outcome depend on the generator alone, not on how the server rotated its answer.
  std::ranges::sort(records, {}, [](const srv_record& r) {
    return std::tuple(r.priority, r.weight != 0, std::string_view(r.target), r.port);
  });
  for (auto from = records.begin(); from != records.end();) {
    const auto to =
        std::find_if(from, records.end(), [&](const srv_record& r) { return r.priority != from->priority; });
    shuffle_by_weight({from, to}, random);
    from = to;
  }
  return records;
}

bool is_refusal(const std::vector<srv_record>& records) {
  return records.size() == 1 && is_root(records.front());
}

} // namespace skald::sip
