#pragma once
// The system's generator (GnuTLS, level GNUTLS_RND_RANDOM: fit for keys, nonces and tags), read in blocks.
#include "base/rng.hpp"

#include <array>
#include <cstddef>

namespace skald::node {

// One per thread; not locked.
class system_rng final : public rng {
public:
  std::uint64_t next() override;

private:
  std::array<std::uint64_t, 64> block_{};
  std::size_t used_ = block_.size();
};

} // namespace skald::node
