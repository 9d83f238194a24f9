#pragma once
// The order in which SRV targets are tried (RFC 2782): by priority; among equals at random, by weight.
#include "base/rng.hpp"
#include "sip/resolve/dns.hpp"

#include <vector>

namespace skald::sip {

inline constexpr std::size_t srv_records_max = 64; // of one answer; the rest is ignored

std::vector<srv_record> order_srv(std::vector<srv_record> records, rng& random);

// "This service is decidedly not available at this domain": a single record whose target is the root.
bool is_refusal(const std::vector<srv_record>& records);

} // namespace skald::sip
