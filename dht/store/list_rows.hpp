#pragma once
// The lists of several rings, partition by partition, under common member numbers, so that they compare as integers: a
// view change looks at four or more lists of each partition. Private to dht/store.
#include "dht/ring/ring.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace skald::dht {

class list_rows {
public:
  static constexpr std::uint16_t nobody = 0xffff;
  using list = std::array<std::uint16_t, copies_default>;

  // nullptr stands for a ring without members. The rings outlive it.
  explicit list_rows(std::vector<const ring*> rings) : rings_(std::move(rings)), numbers_(rings_.size()) {
    for (const auto* r : rings_)
      if (r != nullptr)
        for (const auto& m : r->members()) ids_.push_back(m.id);
    std::ranges::sort(ids_);
    ids_.erase(std::ranges::unique(ids_).begin(), ids_.end());
    for (std::size_t i = 0; i < rings_.size(); ++i)
      if (rings_[i] != nullptr)
        for (const auto& m : rings_[i]->members()) numbers_[i].push_back(number(m.id));
  }
  const std::vector<node_id>& ids() const { return ids_; }
  std::uint16_t number(const node_id& id) const {
    const auto at = std::ranges::lower_bound(ids_, id);
    return at != ids_.end() && *at == id ? static_cast<std::uint16_t>(at - ids_.begin()) : nobody;
  }
  std::size_t rings() const { return rings_.size(); }
  list at(std::size_t which, partition p) const {
    list out{nobody, nobody, nobody};
    const ring* r = rings_[which];
    if (r == nullptr || r->members().empty()) return out;
    const auto* first = reinterpret_cast<const char*>(&r->members().front().id);
    std::size_t i = 0;
    const ring::list owners = r->at(p); // a range-for keeps no temporary behind span() alive
    for (const auto* id : owners.span()) // ids stand in the members' row
      out[i++] = numbers_[which][static_cast<std::size_t>(reinterpret_cast<const char*>(id) - first) / sizeof(ring_member)];
    return out;
  }
  // for each partition: f(partition, its lists in the order of the rings)
  template <class F>
  void for_each(F&& f) const {
    std::vector<list> lists(rings_.size());
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      const partition p{static_cast<std::uint16_t>(i)};
      for (std::size_t each = 0; each < lists.size(); ++each) lists[each] = at(each, p);
      f(p, lists);
    }
  }
  static bool has(const list& l, std::uint16_t n) { return n != nobody && std::ranges::find(l, n) != l.end(); }

private:
  std::vector<const ring*> rings_;
  std::vector<std::vector<std::uint16_t>> numbers_; // of each ring's members, in their order
  std::vector<node_id> ids_;
};

} // namespace skald::dht
