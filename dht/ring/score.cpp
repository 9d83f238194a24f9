#include "dht/ring/score.hpp"

namespace skald::dht::score {
namespace {

// floor(2^56 * log2(x / 2^63)) for x in [2^63, 2^64): each squaring doubles the logarithm, and whether the square
// reaches 2 is its next binary digit.
consteval std::uint64_t log2_digits(std::uint64_t x) {
  std::uint64_t digits = 0;
  for (int i = 0; i < 56; ++i) {
    const uint128 square = static_cast<uint128>(x) * x; // [2^126, 2^128)
    const bool doubled = (square >> 127) != 0;
    digits = (digits << 1) | (doubled ? 1U : 0U);
    x = static_cast<std::uint64_t>(square >> (doubled ? 64 : 63));
  }
  return digits;
}

// In quarters: a compiler limits the steps of one constant evaluation.
consteval std::array<std::uint64_t, 1024> make_quarter(std::uint64_t from) {
  std::array<std::uint64_t, 1024> out{};
  for (std::uint64_t i = 0; i < 1024; ++i) out[i] = (std::uint64_t{1} << 56) - log2_digits((4096 + from + i) << 51);
  return out;
}
template <std::uint64_t From>
constexpr std::array<std::uint64_t, 1024> quarter = make_quarter(From);

consteval log_table join_quarters() {
  log_table t{};
  for (std::size_t i = 0; i < 1024; ++i) {
    t[i] = quarter<0>[i];
    t[1024 + i] = quarter<1024>[i];
    t[2048 + i] = quarter<2048>[i];
    t[3072 + i] = quarter<3072>[i];
  }
  return t; // the last entry is log2(2): zero
}

constexpr log_table made = join_quarters();
static_assert(made[0] == 72057594037927936ULL && made[1] == 72032216976023105ULL && made[2048] == 29906603633551737ULL &&
              made[4095] == 12690854386378ULL && made[4096] == 0);

} // namespace

constinit const log_table logs = made;

} // namespace skald::dht::score
