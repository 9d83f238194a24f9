#include "base/rng.hpp"

#include <algorithm>
#include <cstring>

namespace skald {

std::uint64_t rng::below(std::uint64_t bound) {
  // Lemire's multiply-and-shift with rejection: exact, and almost always one draw.
  for (;;) {
    const unsigned __int128 product = static_cast<unsigned __int128>(next()) * bound;
    const auto low = static_cast<std::uint64_t>(product);
    if (low >= bound || low >= (0 - bound) % bound) return static_cast<std::uint64_t>(product >> 64);
  }
}

std::string rng::bytes(std::size_t n) {
  std::string out(n, '\0');
  for (std::size_t i = 0; i < n; i += 8) {
    const std::uint64_t word = next();
    std::memcpy(out.data() + i, &word, std::min<std::size_t>(8, n - i));
  }
  return out;
}

std::uint64_t seeded_rng::next() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

} // namespace skald
