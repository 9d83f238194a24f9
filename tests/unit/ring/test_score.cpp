#include "dht/ring/score.hpp"

#include <doctest/doctest.h>

using namespace skald::dht;

TEST_CASE("score: the page's vectors of the logarithm (ring-and-membership A4)") {
  CHECK(score::logs[0] == 72057594037927936ULL);
  CHECK(score::logs[1] == 72032216976023105ULL);
  CHECK(score::logs[2048] == 29906603633551737ULL);
  CHECK(score::logs[4095] == 12690854386378ULL);
  CHECK(score::logs[4096] == 0);
  CHECK(score::minus_log2(1) == 4611686018427387904ULL);
  CHECK(score::minus_log2(0) == score::minus_log2(1));
  CHECK(score::minus_log2(1ULL << 63) == 1ULL << 56);
  CHECK(score::minus_log2(~0ULL) == 2955);
  CHECK(score::minus_log2(0x123456789abcdef0ULL) == 274811897361515547ULL);
}

TEST_CASE("score: the page's vectors of draw and cost (ring-and-membership A4)") {
  const auto cost = [](std::uint64_t seed, std::uint32_t capacity, std::uint32_t p) {
    return score::cost(seed, score::inverse(capacity), p);
  };
  CHECK(score::draw(1, 0) == 0x68cb58c58e88561bULL);
  CHECK(cost(1, 1, 0) == 92852208288547250ULL);
  CHECK(cost(2, 3, 0) == 84735571478866197ULL);
  CHECK(cost(3, 10, 0) == 27785248857322535ULL);
  CHECK(cost(1, 1, 65535) == 156149339697117557ULL);
  CHECK(cost(2, 3, 65535) == 17324763792911191ULL);
  CHECK(cost(3, 10, 65535) == 12753895645452992ULL);
}

TEST_CASE("score: the fold takes every byte of the id, big-endian words of 64, 64 and 32 bits") {
  skald::node_id id;
  for (std::size_t i = 0; i < 20; ++i) id.bytes[i] = static_cast<std::uint8_t>(i + 1);
  std::uint64_t s = 0;
  for (const std::uint64_t word : {0x0102030405060708ULL, 0x090a0b0c0d0e0f10ULL, 0x11121314ULL}) s = score::fmix(s ^ word);
  CHECK(score::seed_of(id) == s);
  id.bytes[19] ^= 1;
  CHECK(score::seed_of(id) != s);
}
