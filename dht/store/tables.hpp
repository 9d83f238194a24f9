#pragma once
// The records that this node holds, in memory, striped by key. Merging is "higher version wins" per item: commutative
// and idempotent, whatever the source (consistency.md §3). Reading: any thread. Everything else: the cluster thread.
#include "base/guarded.hpp"
#include "dht/store/digests.hpp"
#include "dht/store/store.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace skald::dht {

// A volatile tombstone, floor or expired stub is kept for its table's longest grant after its version, and a minute more.
inline constexpr milliseconds stub_margin{60'000};
// When the record may be reclaimed; at least a minute after it expired. kept_for_good: never (durable; or without end).
unix_ms reclaimed_at(const record& r);

// True if `a` replaces `b` in a merge: by version, then by expiry and bytes (their hash, which a stub keeps), so that
// equal versions converge too.
bool supersedes(const record& a, const record& b);

// Partitions are compared in 64 sub-ranges: the key's six bits behind the partition's.
inline constexpr std::size_t sub_ranges = 64;
inline std::size_t sub_range_of(const ring_key& k) { return k.bytes[2] >> 2; }

// One item in a list of what a holder has, for another to see what it lacks.
struct held_item {
  std::uint64_t name = 0; // hash of table, key and item
  std::uint64_t hlc = 0;
  std::uint32_t mark = 0; // of the whole
  bool operator==(const held_item&) const = default;
};
held_item as_held(const record& r);

class memory_tables {
public:
  // Takes the record if it supersedes what is held. True: it was taken.
  bool merge(record r, unix_ms now);

  std::vector<record> live(table t, const ring_key& k, unix_ms now) const; // sorted by item; any thread
  std::vector<record> all(table t, const ring_key& k) const;               // stubs and tombstones too; any thread
  std::optional<record> find(table t, const ring_key& k, const std::string& item) const;

  // Everything of one partition; of one of its sub-ranges.
  std::vector<record> of(partition p, std::optional<std::size_t> sub_range = {}) const;
  // Equal sets of records, as far as they are kept at `cut` (a digest_cut()), have equal digests. 0: nothing.
  std::uint64_t digest(partition p, unix_ms cut) const { return digests_.at(p, cut); }
  std::array<std::uint64_t, sub_ranges> sub_digests(partition p, unix_ms cut) const;
  partition_set partitions() const { return digests_.partitions(); } // that anything is held of
  void erase(partition p); // for who is not listed any more

  // Records in key order, from behind `cursor` ("" : the start) on: whole keys, of table `t` only if given, until `limit`
  // records were taken or `limit` * 16 keys were looked at. `wanted` (may be empty) sees each key first. The cursor
  // moves; "" again: that was the end. Any thread.
  std::vector<record> page(std::optional<table> t, std::string& cursor, std::size_t limit,
                           const std::function<bool(const ring_key&)>& wanted = {}) const;

  // Looks at the next `keys` keys: shrinks what expired to item and version, drops volatile stubs and tombstones that
  // are past their time. Over many calls it comes round; no single one is long.
  void sweep(unix_ms now, std::size_t keys);

  struct figures {
    std::map<table, std::uint64_t> records;        // with stubs and tombstones
    std::uint64_t volatile_bytes = 0, bytes = 0;   // as they would stand in a log, about
    std::uint64_t memory = 0;                      // bytes that they take here, about
  };
  figures count() const { return figures_; }

private:
  struct slot_id {
    ring_key key;
    table t{};
    auto operator<=>(const slot_id&) const = default;
  };
  struct item_state {
    std::string item, value;
    dht::version version;
    unix_ms expires = 0;
    std::uint64_t value_hash = 0; // also when the value is gone
    bool removed = false;
  };
  using slot = std::vector<item_state>; // sorted by item
  using stripe = std::map<slot_id, slot>;
  static constexpr std::size_t stripe_count = 64; // by the key's top bits: stripes in order are keys in order

  static std::size_t stripe_of(const ring_key& k) { return k.bytes[0] >> 2; }
  static record full(const slot_id& id, const item_state& s);
  bool merge(slot& items, const slot_id& id, record&& r);
  template <class F>
  void for_each_in(partition p, F&& f) const; // (slot_id, item_state)
  void account(const slot_id& id, const item_state& s, bool added);
  void sweep_slot(const slot_id& id, slot& s, unix_ms now);

  std::array<guarded<stripe>, stripe_count> stripes_;
  digest_index digests_;
  figures figures_;
  std::size_t sweep_stripe_ = 0;
  slot_id sweep_at_{};
};

} // namespace skald::dht
