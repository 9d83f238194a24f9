#include "node/io/system_rng.hpp"

#include "base/errors.hpp"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

namespace skald::node {

std::uint64_t system_rng::next() {
  if (used_ == block_.size()) {
    const int rc = ::gnutls_rnd(GNUTLS_RND_RANDOM, block_.data(), sizeof block_);
    SKALD_ASSERT(rc == 0); // without randomness nothing that follows would be safe
    used_ = 0;
  }
  const std::uint64_t out = block_[used_];
  block_[used_++] = 0; // a number handed out is not found in memory again
  return out;
}

} // namespace skald::node
