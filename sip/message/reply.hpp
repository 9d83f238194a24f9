#pragma once
// Responses made from requests (RFC 3261 §8.2.6).
#include "sip/message/message.hpp"

#include <string_view>

namespace skald::sip {

// The registered reason phrase of a status, else that of its class ("Client Error").
std::string_view default_reason(int status);

// A response with the request's Vias, From, To, Call-ID, CSeq, and for a 100 its Timestamp. An empty `reason` is the
// default one. `to_tag` is put into To if that has no tag and the status is above 100. Shares the request's bytes: no
// text is copied but the reason and a changed To. Record-Route is the business of whom the dialog belongs to.
message make_reply(const message& request, int status, std::string_view reason = {}, std::string_view to_tag = {});

} // namespace skald::sip
