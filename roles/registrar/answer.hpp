#pragma once
// What the registrar answers (RFC 3261 §10.3 step 8, RFC 3327 §5.3, RFC 3608 §6, RFC 5626 §6). Pure.
#include "base/clock.hpp"
#include "roles/core/binding.hpp"
#include "roles/core/settings.hpp"
#include "roles/registrar/register_request.hpp"
#include "sip/message/message.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

inline constexpr std::string_view flow_timer_s = "60"; // Flow-Timer: how often the phone pings (RFC 5626 §6)

// 200 with all current bindings.
sip::message registered(const sip::message& request, const register_request& wanted, const std::vector<binding>& current,
                        const settings& config, unix_ms now, std::string_view to_tag);
sip::message refused(const sip::message& request, const register_refusal& why, std::string_view to_tag);
// 500 that asks to come back: never 503, which would send the phone away from an edge that is well (sip.md §7).
sip::message try_again(const sip::message& request, std::uint32_t after_s, std::string_view to_tag);

// "Sat, 13 Nov 2010 23:29:00 GMT" (RFC 3261 §20.17).
std::string sip_date(unix_ms t);

} // namespace skald::roles
