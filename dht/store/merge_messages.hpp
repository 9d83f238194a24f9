#pragma once
// How two holders find out in what they differ (consistency.md §4): the asker names partitions and shows digests, level by
// level; the other says where its own differ. What differs is then asked for by store_copy_request.
#include "dht/store/messages.hpp"
#include "dht/store/sources.hpp"

#include <cstdint>
#include <vector>

namespace skald::dht {

// What a digest stands for. All: 16 bytes (two halves). Groups: 256 partitions each. Sub-ranges: 64 in a partition,
// numbered partition * 64 + sub-range.
enum class compare_level : std::uint8_t { all = 0, groups = 1, partitions = 2, sub_ranges = 3 };
inline constexpr std::size_t partitions_per_group = 256;

struct store_compare {
  using digest_list = std::vector<std::pair<std::uint32_t, std::uint64_t>>;
  std::uint64_t number = 0; // of the merge; with level `all` it begins
  view_stamp stamp;
  unix_ms cut = 0;          // what is kept at this cluster time is compared
  compare_level level = compare_level::all;
  bool shared = false;      // all partitions that both are listed for; else those of `parts`
  partition_set parts;      // with level `all` only
  std::vector<std::uint32_t> covered; // groups, for level partitions; partitions, for level sub_ranges
  digest_list digests;      // of all that is covered, in ascending order; one that is not there is 0

  bool operator==(const store_compare&) const = default;
  frame encode() const;
  static result<store_compare> decode(const frame& f);
};

struct store_compared {
  enum class status : std::uint8_t {
    done = 0,
    facts_first = 1, // the views differ: membership facts are exchanged, then ask again
    begin_again = 2, // no such merge is known here
  };
  std::uint64_t number = 0;
  view_stamp stamp;
  status said = status::done;
  compare_level level = compare_level::all;
  std::vector<std::uint32_t> differ;  // of what was compared
  std::vector<told_source> sources;   // of the sender, within the partitions; with level `all`

  bool operator==(const store_compared&) const = default;
  frame encode() const;
  static result<store_compared> decode(const frame& f);
};

// The receiver may lack something that the sender has, of these: it is asked to merge, and to say when it has.
struct store_merge_please {
  view_stamp stamp;
  partition_set parts;

  bool operator==(const store_merge_please&) const = default;
  frame encode() const;
  static result<store_merge_please> decode(const frame& f);
};

// "Have you merged with all who live?", and the answer.
struct store_state {
  bool question = false;
  view_stamp stamp; // of the sender
  bool settled = false;

  bool operator==(const store_state&) const = default;
  frame encode() const;
  static result<store_state> decode(const frame& f);
};

} // namespace skald::dht
