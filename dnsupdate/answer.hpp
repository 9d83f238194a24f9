#pragma once
// A DNS answer off the wire, as RFC 3263 resolution wants it: libknot parses, here the records of one type are taken out,
// with the least TTL on the way (aliases included) or, where there is nothing, that of the SOA (RFC 2308 §5).
#include "base/errors.hpp"
#include "sip/resolve/dns.hpp"

#include <string>
#include <string_view>

namespace skald::dnsupdate {

inline constexpr std::size_t answer_records_max = 256; // what stands behind is left out
inline constexpr int alias_chain_max = 8;

// `name` is what was asked for, in any case, with or without final dot.
sip::dns_answer parse_answer(std::string_view wire, std::string_view name, sip::dns_type type);

} // namespace skald::dnsupdate
