#pragma once
// What counts as one source where limits are kept per source: an IPv4 address, or the /64 of an IPv6 one, for whoever has
// that has all of it (RFC 6177, RFC 4941).
#include "base/endpoint.hpp"

#include <algorithm>

namespace skald {

inline ip_address source_of(const ip_address& a) {
  ip_address out = a;
  if (!a.is_v4()) std::fill(out.bytes.begin() + 8, out.bytes.end(), std::uint8_t{0});
  return out;
}

} // namespace skald
