#pragma once
// How long a registration is granted (sip.md §4): as asked, but short enough that a flow through a NAT is kept by those
// who have to keep it. Pure.
#include "sip/message/message.hpp"
#include "sip/message/uri.hpp"
#include "sip/token/token.hpp"

#include <cstdint>

namespace skald::roles {

inline constexpr std::uint32_t grant_udp_behind_nat_s = 120;
inline constexpr std::uint32_t grant_stream_behind_nat_s = 600;

// Who keeps the flow open.
enum class kept_by : std::uint8_t {
  phone, // `outbound` or `keep` (RFC 5626 §3.5, RFC 6223): it sends keep-alives of its own
  us,
};
// The source is not what Contact says, or that is a private address.
bool behind_nat(const sip::uri& contact, const sip::token& flow);
// The most that may be granted, in seconds.
std::uint32_t grant_cap(const sip::uri& contact, const sip::token& flow, kept_by keeper, std::uint32_t grant_max_s);
// Whether the phone's own Via (the bottommost) offers keep-alives (RFC 6223 §4.1).
bool offers_keep(const sip::message& request);

} // namespace skald::roles
