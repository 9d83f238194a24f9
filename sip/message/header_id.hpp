#pragma once
// Names of methods and headers as enumerators (RFC 3261 §20 and the extensions skald speaks), with compact forms (§7.3.3).
#include <cstdint>
#include <string_view>

namespace skald::sip {

enum class method : std::uint8_t {
  invite, ack, bye, cancel, register_, options, message, info, prack, update, refer, subscribe, notify, publish,
  other, // any other token: goes the way of MESSAGE
};
method method_from(std::string_view token); // case-sensitive (§7.1)
std::string_view to_string(method m);       // "" for other

enum class header : std::uint8_t {
  accept, allow, allow_events, authorization, call_id, contact, content_length, content_type, cseq, date, event,
  expires, flow_timer, from, history_info, max_breadth, max_forwards, min_expires, min_se, organization,
  p_asserted_identity, p_preferred_identity, path, privacy, proxy_authenticate, proxy_authorization, proxy_require,
  rack, reason, record_route, refer_to, require, retry_after, route, rseq, server, service_route, session_expires,
  sip_etag, sip_if_match, subject, subscription_state, supported, to, unsupported, user_agent, via, warning,
  www_authenticate,
  other,
};
header header_from(std::string_view name);  // case-insensitive; compact forms too
std::string_view to_string(header h);       // canonical name, "" for other
// Whether several values may stand in one line, split by commas (§7.3.1). Not so for the four authentication headers,
// Date, and single-valued ones.
bool is_comma_list(header h);

} // namespace skald::sip
