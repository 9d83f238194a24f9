#pragma once
// What makes two requests copies of one attempt, and what a leg stands under (sip.md §6). Pure functions; any thread.
#include "sip/flow.hpp"
#include "sip/message/message.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace skald::roles {

// Whose the attempt is. A subscriber's copy replaces what he sent before; copies that came to an outsider's request by
// different ways are not ours to merge, and stand beside one another.
enum class attempt_owner : std::uint8_t { subscriber, peer, stranger };

// One letter and 32 hex digits over Call-ID, From tag, CSeq number, method, who says it, and what is asked (Request-URI,
// To, body): a request that differs in any of them is another one. `who`: the AoR, the peer's address or name, or the
// source address. Made once authentication has passed, before anything is rewritten; travels on links only.
std::string attempt_of(const sip::message& request, attempt_owner kind, std::string_view who);
bool is_attempt(std::string_view text);
bool is_subscribers(std::string_view attempt);

using leg_key = std::array<std::uint64_t, 2>;
// A leg: (attempt, binding id, flow, round). `server`: for a foreign server, the URI it was found by; else empty.
leg_key leg_key_of(std::string_view attempt, std::uint64_t binding_id, std::string_view server, const sip::flow& flow,
                   std::uint32_t round);
// The same but for flow and round: one UA, as far as one attempt goes.
leg_key ua_key_of(std::string_view attempt, std::uint64_t binding_id, std::string_view server, const sip::flow& flow);

// The dialogs that a request may have begun: Call-ID and From tag, of an ACK of its 2xx too.
leg_key caller_key_of(std::string_view call_id, std::string_view from_tag);

struct leg_key_hash {
  std::size_t operator()(const leg_key& k) const noexcept { return static_cast<std::size_t>(k[0] ^ (k[1] * 31)); }
};

} // namespace skald::roles
