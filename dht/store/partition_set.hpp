#pragma once
// A bit for each partition; in words, because a view change goes through all of them.
#include "base/ids.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace skald::dht {

struct partition_set {
  std::array<std::uint64_t, partition_count / 64> words{};

  bool operator==(const partition_set&) const = default;
  bool test(partition p) const { return ((words[word(p)] >> bit(p)) & 1) != 0; }
  void set(partition p) { words[word(p)] |= std::uint64_t{1} << bit(p); }
  void reset(partition p) { words[word(p)] &= ~(std::uint64_t{1} << bit(p)); }
  void set_all() { words.fill(~std::uint64_t{0}); }
  bool none() const { return std::ranges::all_of(words, [](std::uint64_t w) { return w == 0; }); }
  std::size_t count() const {
    std::size_t n = 0;
    for (const auto w : words) n += static_cast<std::size_t>(std::popcount(w));
    return n;
  }
  partition_set& operator|=(const partition_set& o) {
    for (std::size_t i = 0; i < words.size(); ++i) words[i] |= o.words[i];
    return *this;
  }
  partition_set& operator&=(const partition_set& o) {
    for (std::size_t i = 0; i < words.size(); ++i) words[i] &= o.words[i];
    return *this;
  }
  partition_set& operator-=(const partition_set& o) {
    for (std::size_t i = 0; i < words.size(); ++i) words[i] &= ~o.words[i];
    return *this;
  }
  friend partition_set operator&(partition_set a, const partition_set& b) { return a &= b; }
  friend partition_set operator-(partition_set a, const partition_set& b) { return a -= b; }

  template <class F>
  void for_each(F&& f) const { // in ascending order
    for (std::size_t i = 0; i < words.size(); ++i)
      for (std::uint64_t w = words[i]; w != 0; w &= w - 1)
        f(partition{static_cast<std::uint16_t>(i * 64 + static_cast<std::size_t>(std::countr_zero(w)))});
  }

  // On the wire and on disk: runs (first, last; 16 bits each) or the bits, whichever is shorter, behind a byte that says
  // which. No partition: one byte.
  std::string encode() const;
  static std::optional<partition_set> decode(std::string_view bytes);

  static std::size_t word(partition p) { return static_cast<std::size_t>(p) / 64; }
  static unsigned bit(partition p) { return static_cast<unsigned>(p) % 64; }
};

} // namespace skald::dht
