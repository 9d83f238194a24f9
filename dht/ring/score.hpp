#pragma once
// The cost of a node for a partition, in integers (ring-and-membership A4). The constants below belong to the protocol
// version: two nodes that differ in one of them would place every key differently. Pure functions, any thread.
#include "base/ids.hpp"

#include <array>
#include <bit>
#include <cstdint>

namespace skald::dht::score {

// -log2(u / 2^64) needs log2 of a mantissa: T[i] = 2^56 - floor(2^56 * log2(1 + i/4096)), i = 0..4096.
using log_table = std::array<std::uint64_t, 4097>;
extern const log_table logs;

__extension__ using uint128 = unsigned __int128;

// A bijective mix: flipping one bit of the input flips about half of the output.
constexpr std::uint64_t fmix(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  return x;
}

// The 160 bits of an id folded to 64.
constexpr std::uint64_t seed_of(const node_id& id) {
  const auto word = [&](std::size_t from, std::size_t bytes) {
    std::uint64_t w = 0;
    for (std::size_t i = 0; i < bytes; ++i) w = (w << 8) | id.bytes[from + i];
    return w;
  };
  return fmix(fmix(fmix(word(0, 8)) ^ word(8, 8)) ^ word(16, 4));
}

constexpr std::uint64_t draw(std::uint64_t seed, std::uint32_t p) {
  return fmix(seed + (std::uint64_t{p} + 1) * 0x9E3779B97F4A7C15ULL);
}

// -log2(u / 2^64) with 56 bits after the point; linear between two entries of the table.
inline std::uint64_t minus_log2(std::uint64_t u, const log_table& t = logs) {
  u |= 1; // zero has no logarithm
  const auto zeros = static_cast<unsigned>(std::countl_zero(u));
  const std::uint64_t mantissa = u << zeros;
  const std::size_t i = (mantissa >> 51) & 4095;
  const std::uint64_t fraction = (mantissa >> 19) & 0xffffffffULL;
  const auto bent = static_cast<std::uint64_t>((static_cast<uint128>(t[i] - t[i + 1]) * fraction) >> 32);
  return (std::uint64_t{zeros} << 56) + t[i] - bent;
}

// 2^32 / capacity: what a cost is multiplied with. capacity 1..65535.
constexpr std::uint64_t inverse(std::uint32_t capacity) { return (std::uint64_t{1} << 32) / capacity; }

inline std::uint64_t cost(std::uint64_t seed, std::uint64_t inverse_capacity, std::uint32_t p) {
  return static_cast<std::uint64_t>((static_cast<uint128>(minus_log2(draw(seed, p))) * inverse_capacity) >> 32);
}

} // namespace skald::dht::score
