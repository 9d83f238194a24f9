#pragma once
// The two requests that the transaction layer makes by itself. They go where the INVITE went, with its topmost Via.
#include "sip/message/message.hpp"

#include <string_view>

namespace skald::sip {

// The ACK of a non-2xx final response (RFC 3261 §17.1.1.3).
message make_ack(const message& invite, const message& response);

// CANCEL of that INVITE (RFC 3261 §9.1). `reason`: the value of a Reason header (RFC 3326), or empty.
message make_cancel(const message& invite, std::string_view reason);

} // namespace skald::sip
