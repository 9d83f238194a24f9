#pragma once
// The ring of one role: partition → the nodes that hold it, by weighted rendezvous in integers
// (ring-and-membership part A). A pure function of the members, their capacities and zones; every node computes the same.
#include "base/ids.hpp"
#include "dht/view/view.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace skald::dht {

struct ring_member {
  node_id id;
  std::uint32_t capacity = 100;
  std::string zone;
  bool operator==(const ring_member&) const = default;
};

inline constexpr std::size_t copies_default = 3; // owner and two copies

class ring {
public:
  // From scratch, or from the former table where few members changed (the same result, about 3 ms).
  static std::shared_ptr<const ring> build(std::vector<ring_member> members, const ring* former = nullptr);

  // [owner, copy, copy], shorter if there are fewer members. One load. The ids live as long as the ring.
  struct list {
    std::array<const node_id*, copies_default> nodes{};
    std::uint8_t size = 0;
    std::span<const node_id* const> span() const { return {nodes.data(), size}; }
    bool has(const node_id& id) const;
  };
  list at(partition p) const;
  list at(const ring_key& k) const { return at(partition_of(k)); }
  const node_id* owner(const ring_key& k) const; // nullptr for an empty ring
  // f(partition), ascending: those whose list has this member. A scan over small integers, not a look at each list.
  template <class F>
  void for_each_of(const node_id& member, F&& f) const;
  // What the lists of these partitions would be without one of the members: as a ring without it has them, at the cost of
  // these rows alone. In the order of `of`; the ids live as long as this ring.
  std::vector<list> without(const node_id& member, std::span<const partition> of) const;
  std::span<const ring_member> members() const { return members_; }

private:
  static constexpr std::uint16_t nobody = 0xffff;
  using row = std::array<std::uint16_t, copies_default>;
  list list_of(const row& r) const;
  std::vector<ring_member> members_; // sorted by id
  std::vector<row> rows_;            // partition_count
  friend struct ring_builder;
};
using ring_ptr = std::shared_ptr<const ring>;

template <class F>
void ring::for_each_of(const node_id& member, F&& f) const {
  const auto at = std::ranges::lower_bound(members_, member, {}, &ring_member::id);
  if (at == members_.end() || at->id != member) return;
  const auto index = static_cast<std::uint16_t>(at - members_.begin());
  for (std::uint32_t p = 0; p < partition_count; ++p)
    if (const row& r = rows_[p]; r[0] == index || r[1] == index || r[2] == index) f(partition{static_cast<std::uint16_t>(p)});
}

// The two rings of a role in one view (A6): serving over active and draining members, target over active and joining.
struct ring_pair {
  ring_ptr serving, target;
};
std::vector<ring_member> serving_members(const view& v, role r);
std::vector<ring_member> target_members(const view& v, role r);

ring_key key_of_aor(std::string_view canonical_aor); // SHA-1, OpenDHT's InfoHash::get
ring_key key_of_name(std::string_view name);         // cluster-wide things: "settings", "keys", "zone:example.com"

} // namespace skald::dht
