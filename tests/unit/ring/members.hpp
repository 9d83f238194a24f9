#pragma once
// Random members for the ring's tests.
#include "base/rng.hpp"
#include "dht/ring/ring.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace skald::dht::testing {

inline ring_member random_member(rng& r, std::uint32_t capacity = 100, std::string zone = {}) {
  return {*node_id::from_bytes(r.bytes(20)), capacity, std::move(zone)};
}

// One member per entry of `zones`, with random capacities 1..4 if `mixed`.
enum class capacities { equal, mixed };
inline std::vector<ring_member> in_zones(rng& r, std::initializer_list<int> sizes, capacities c = capacities::equal) {
  std::vector<ring_member> out;
  char zone = 'a';
  for (const int size : sizes) {
    for (int i = 0; i < size; ++i)
      out.push_back(random_member(r, c == capacities::mixed ? static_cast<std::uint32_t>(1 + r.below(4)) : 1, std::string(1, zone)));
    ++zone;
  }
  return out;
}

inline std::vector<node_id> ids(const ring& r, std::uint32_t p) {
  std::vector<node_id> out;
  const auto owners = r.at(partition{static_cast<std::uint16_t>(p)});
  for (const node_id* n : owners.span()) out.push_back(*n);
  return out;
}

inline std::vector<ring_member> without(const std::vector<ring_member>& members, auto&& unwanted) {
  std::vector<ring_member> out = members;
  std::erase_if(out, unwanted);
  return out;
}

} // namespace skald::dht::testing
