#pragma once
// Which nonce counts of one nonce were used (sip.md §3): the highest and the 63 below it. A value; merging two copies
// of it loses nothing but counts that fell out of the window, which are taken as used.
#include "base/errors.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::sip {

enum class nc_verdict : std::uint8_t { first_use, used };

class nc_window {
public:
  static constexpr std::uint32_t width = 64;

  // Counts start at 1 (RFC 7616 §3.4); 0 is taken as used.
  nc_verdict take(std::uint32_t nc);
  // For phones that send no qop, and so no count: the nonce is good once, and for nothing else.
  nc_verdict take_whole();
  nc_verdict look(std::uint32_t nc) const; // what take() would say

  nc_window merged_with(const nc_window& other) const;
  bool operator==(const nc_window&) const = default;

  std::string encode() const; // 12 bytes
  static result<nc_window> decode(std::string_view bytes);

private:
  std::uint32_t highest_ = 0; // 0: none yet
  std::uint64_t seen_ = 0;    // bit i: highest_ - i
};

} // namespace skald::sip
