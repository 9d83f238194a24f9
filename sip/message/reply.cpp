#include "sip/message/reply.hpp"

#include "base/encoding.hpp"
#include "sip/message/name_addr.hpp"

#include <algorithm>
#include <array>

namespace skald::sip {

namespace {

struct reason_row {
  int status;
  std::string_view phrase;
};

// IANA "Session Initiation Protocol (SIP) Parameters", response codes; ascending.
constexpr std::array reason_rows = std::to_array<reason_row>({
    {100, "Trying"}, {180, "Ringing"}, {181, "Call Is Being Forwarded"}, {182, "Queued"}, {183, "Session Progress"},
    {199, "Early Dialog Terminated"},
    {200, "OK"}, {202, "Accepted"}, {204, "No Notification"},
    {300, "Multiple Choices"}, {301, "Moved Permanently"}, {302, "Moved Temporarily"}, {305, "Use Proxy"},
    {380, "Alternative Service"},
    {400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"}, {404, "Not Found"},
    {405, "Method Not Allowed"}, {406, "Not Acceptable"}, {407, "Proxy Authentication Required"},
    {408, "Request Timeout"}, {410, "Gone"}, {412, "Conditional Request Failed"}, {413, "Request Entity Too Large"},
    {414, "Request-URI Too Long"}, {415, "Unsupported Media Type"}, {416, "Unsupported URI Scheme"},
    {417, "Unknown Resource-Priority"}, {420, "Bad Extension"}, {421, "Extension Required"},
    {422, "Session Interval Too Small"}, {423, "Interval Too Brief"}, {428, "Use Identity Header"},
    {429, "Provide Referrer Identity"}, {430, "Flow Failed"}, {433, "Anonymity Disallowed"},
    {436, "Bad Identity Info"}, {437, "Unsupported Credential"}, {438, "Invalid Identity Header"},
    {439, "First Hop Lacks Outbound Support"}, {440, "Max-Breadth Exceeded"}, {469, "Bad Info Package"},
    {470, "Consent Needed"}, {480, "Temporarily Unavailable"}, {481, "Call/Transaction Does Not Exist"},
    {482, "Loop Detected"}, {483, "Too Many Hops"}, {484, "Address Incomplete"}, {485, "Ambiguous"},
    {486, "Busy Here"}, {487, "Request Terminated"}, {488, "Not Acceptable Here"}, {489, "Bad Event"},
    {491, "Request Pending"}, {493, "Undecipherable"}, {494, "Security Agreement Required"},
    {500, "Server Internal Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
    {504, "Server Time-out"}, {505, "Version Not Supported"}, {513, "Message Too Large"},
    {580, "Precondition Failure"},
    {600, "Busy Everywhere"}, {603, "Decline"}, {604, "Does Not Exist Anywhere"}, {606, "Not Acceptable"},
    {607, "Unwanted"}, {608, "Rejected"},
});
static_assert(std::ranges::is_sorted(reason_rows, {}, &reason_row::status));

constexpr std::array<std::string_view, 7> class_phrases = {
    "", "Progress", "Success", "Redirection", "Client Error", "Server Error", "Global Failure"};

// RFC 3261 §8.2.6.1 (Timestamp) and §8.2.6.2.
bool is_copied(const header_field& f, int status) {
  if (f.id == header::other) return status == 100 && equal_nocase(f.name, "Timestamp");
  return f.id == header::via || f.id == header::from || f.id == header::to || f.id == header::call_id ||
         f.id == header::cseq;
}

} // namespace

std::string_view default_reason(int status) {
  const auto row = std::ranges::lower_bound(reason_rows, status, {}, &reason_row::status);
  if (row != reason_rows.end() && row->status == status) return row->phrase;
  return status >= 100 && status <= 699 ? class_phrases[static_cast<std::size_t>(status / 100)] : std::string_view{};
}

message make_reply(const message& request, int status, std::string_view reason, std::string_view to_tag) {
  message out = message::response(status, reason.empty() ? default_reason(status) : reason);
  out.share_fields(request, [status](const header_field& f) { return is_copied(f, status); });
  if (status > 100 && !to_tag.empty()) {
    const auto to = parse_name_addr(out.line(header::to).value_or(std::string_view{}));
    // A To that does not parse (the answer is a 400) is given back as it came: the branch finds the transaction.
    if (to && to->tag().empty())
      out.set(header::to, std::string(*out.line(header::to)).append(";tag=").append(to_tag));
  }
  return out;
}

} // namespace skald::sip
