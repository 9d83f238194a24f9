#pragma once
// The records that this node holds, in memory, striped by key. Merging is "higher version wins" per item: commutative
// and idempotent, whatever the source (consistency.md §3). Reading: any thread. Everything else: the cluster thread.
#include "base/guarded.hpp"
#include "dht/store/store.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace skald::dht {

// How long a volatile tombstone or expired stub outlives its version: the longest grant, and a minute.
inline constexpr milliseconds longest_grant{3'600'000};
inline constexpr milliseconds stub_margin{60'000};

// True if `a` replaces `b` in a merge: by version, then by bytes, so that equal versions converge too.
bool supersedes(const record& a, const record& b);

class memory_tables {
public:
  // Takes the record if it supersedes what is held. True: it was taken.
  bool merge(record r, unix_ms now);

  std::vector<record> live(table t, const ring_key& k, unix_ms now) const; // sorted by item; any thread
  std::vector<record> all(table t, const ring_key& k) const;               // stubs and tombstones too; any thread
  std::optional<record> find(table t, const ring_key& k, const std::string& item) const;

  // Everything of one partition; its digest: equal sets of (table, key, item, version) have equal digests, 0: empty.
  std::vector<record> of(partition p) const;
  std::uint64_t digest(partition p) const;

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
    bool removed = false;
  };
  using slot = std::vector<item_state>; // sorted by item
  using stripe = std::map<slot_id, slot>;
  static constexpr std::size_t stripe_count = 64; // by the key's top bits: stripes in order are keys in order

  static std::size_t stripe_of(const ring_key& k) { return k.bytes[0] >> 2; }
  static record full(const slot_id& id, const item_state& s);
  static std::uint64_t mark(const slot_id& id, const item_state& s);
  static std::uint64_t weight(const item_state& s);
  void account(const slot_id& id, const item_state& s, bool added);
  void sweep_slot(const slot_id& id, slot& s, unix_ms now);

  std::array<guarded<stripe>, stripe_count> stripes_;
  std::unordered_map<std::uint16_t, std::uint64_t> digests_; // no entry: 0
  figures figures_;
  std::size_t sweep_stripe_ = 0;
  slot_id sweep_at_{};
};

} // namespace skald::dht
