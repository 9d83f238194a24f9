#pragma once
// Randomness as a parameter: the logic takes an `rng&`; production hands it the system's generator, tests a seed.
#include <cstddef>
#include <cstdint>
#include <string>

namespace skald {

// Port: uniform random bits. Each thread has its own; an implementation need not lock.
class rng {
public:
  virtual ~rng() = default;
  virtual std::uint64_t next() = 0;

  // Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound);
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double p) { return unit() < p; }
  std::string bytes(std::size_t n);
};

// splitmix64: the same seed gives the same sequence on every machine. Never for secrets.
class seeded_rng final : public rng {
public:
  explicit seeded_rng(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() override;

private:
  std::uint64_t state_;
};

} // namespace skald
