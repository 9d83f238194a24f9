#include "sip/message/header_id.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace skald::sip {

namespace {

constexpr std::array<std::string_view, 14> method_names = {
    "INVITE", "ACK",   "BYE",    "CANCEL", "REGISTER",  "OPTIONS", "MESSAGE",
    "INFO",   "PRACK", "UPDATE", "REFER",  "SUBSCRIBE", "NOTIFY",  "PUBLISH",
};
static_assert(method_names.size() == static_cast<std::size_t>(method::other));

struct header_row {
  std::string_view name;
  header id;
};
// In the order of the enumeration; make_index() checks that nobody forgot a line.
constexpr std::array header_rows = std::to_array<header_row>({
    {"Accept", header::accept},
    {"Allow", header::allow},
    {"Allow-Events", header::allow_events},
    {"Authorization", header::authorization},
    {"Call-ID", header::call_id},
    {"Contact", header::contact},
    {"Content-Length", header::content_length},
    {"Content-Type", header::content_type},
    {"CSeq", header::cseq},
    {"Date", header::date},
    {"Event", header::event},
    {"Expires", header::expires},
    {"Flow-Timer", header::flow_timer},
    {"From", header::from},
    {"History-Info", header::history_info},
    {"Max-Breadth", header::max_breadth},
    {"Max-Forwards", header::max_forwards},
    {"Min-Expires", header::min_expires},
    {"Min-SE", header::min_se},
    {"Organization", header::organization},
    {"P-Asserted-Identity", header::p_asserted_identity},
    {"P-Preferred-Identity", header::p_preferred_identity},
    {"Path", header::path},
    {"Privacy", header::privacy},
    {"Proxy-Authenticate", header::proxy_authenticate},
    {"Proxy-Authorization", header::proxy_authorization},
    {"Proxy-Require", header::proxy_require},
    {"RAck", header::rack},
    {"Reason", header::reason},
    {"Record-Route", header::record_route},
    {"Refer-To", header::refer_to},
    {"Require", header::require},
    {"Retry-After", header::retry_after},
    {"Route", header::route},
    {"RSeq", header::rseq},
    {"Server", header::server},
    {"Service-Route", header::service_route},
    {"Session-Expires", header::session_expires},
    {"SIP-ETag", header::sip_etag},
    {"SIP-If-Match", header::sip_if_match},
    {"Subject", header::subject},
    {"Subscription-State", header::subscription_state},
    {"Supported", header::supported},
    {"To", header::to},
    {"Unsupported", header::unsupported},
    {"User-Agent", header::user_agent},
    {"Via", header::via},
    {"Warning", header::warning},
    {"WWW-Authenticate", header::www_authenticate},
});
static_assert(header_rows.size() == static_cast<std::size_t>(header::other));
static_assert([] {
  for (std::size_t i = 0; i < header_rows.size(); ++i)
    if (static_cast<std::size_t>(header_rows[i].id) != i) return false;
  return true;
}());

// A perfect hash over (length, first, last character, in lower case): one probe, one comparison. The multipliers are
// searched for at compile time.
constexpr std::size_t slot_count = 256;

struct hash_factors {
  std::size_t length, last;
};
constexpr std::size_t slot_of(std::string_view name, hash_factors f) {
  const auto first = static_cast<unsigned char>(lower(name.front()));
  const auto last = static_cast<unsigned char>(lower(name.back()));
  const auto middle = static_cast<unsigned char>(lower(name[name.size() / 2]));
  return (first + middle * 7u + last * f.last + name.size() * f.length) % slot_count;
}
constexpr bool is_perfect(hash_factors f) {
  std::array<bool, slot_count> taken{};
  for (const header_row& row : header_rows) {
    bool& slot = taken[slot_of(row.name, f)];
    if (slot) return false;
    slot = true;
  }
  return true;
}
constexpr hash_factors find_factors() {
  for (std::size_t length = 1; length < 64; ++length)
    for (std::size_t last = 1; last < 64; ++last)
      if (is_perfect({length, last})) return {length, last};
  return {0, 0};
}
constexpr hash_factors factors = find_factors();
static_assert(is_perfect(factors), "widen slot_count");

constexpr std::array<header, slot_count> slots = [] {
  std::array<header, slot_count> out{};
  out.fill(header::other);
  for (const header_row& row : header_rows) out[slot_of(row.name, factors)] = row.id;
  return out;
}();

header from_compact(char c) { // RFC 3261 §7.3.3 and the IANA registry; only headers of the enumeration
  switch (lower(c)) {
  case 'c': return header::content_type;
  case 'f': return header::from;
  case 'i': return header::call_id;
  case 'k': return header::supported;
  case 'l': return header::content_length;
  case 'm': return header::contact;
  case 'o': return header::event;
  case 'r': return header::refer_to;
  case 's': return header::subject;
  case 't': return header::to;
  case 'u': return header::allow_events;
  case 'v': return header::via;
  case 'x': return header::session_expires;
  default: return header::other;
  }
}

} // namespace

method method_from(std::string_view token) {
  const auto found = std::ranges::find(method_names, token);
  return static_cast<method>(found - method_names.begin());
}

std::string_view to_string(method m) {
  return m == method::other ? std::string_view{} : method_names[static_cast<std::size_t>(m)];
}

header header_from(std::string_view name) {
  if (name.empty()) return header::other;
  if (name.size() == 1) return from_compact(name.front());
  const header candidate = slots[slot_of(name, factors)];
  return candidate != header::other && equal_nocase(to_string(candidate), name) ? candidate : header::other;
}

std::string_view to_string(header h) {
  return h == header::other ? std::string_view{} : header_rows[static_cast<std::size_t>(h)].name;
}

bool is_comma_list(header h) {
  switch (h) {
  case header::accept: case header::allow: case header::allow_events: case header::contact: case header::history_info:
  case header::p_asserted_identity: case header::p_preferred_identity: case header::path: case header::proxy_require:
  case header::reason: case header::record_route: case header::require: case header::route: case header::service_route:
  case header::supported: case header::unsupported: case header::via: case header::warning:
    return true;
  case header::authorization: case header::call_id: case header::content_length: case header::content_type:
  case header::cseq: case header::date: case header::event: case header::expires: case header::flow_timer:
  case header::from: case header::max_breadth: case header::max_forwards: case header::min_expires: case header::min_se:
  case header::organization: case header::privacy: case header::proxy_authenticate: case header::proxy_authorization:
  case header::rack: case header::refer_to: case header::retry_after: case header::rseq: case header::server:
  case header::session_expires: case header::sip_etag: case header::sip_if_match: case header::subject:
  case header::subscription_state: case header::to: case header::user_agent: case header::www_authenticate:
  case header::other:
    return false;
  }
  return false;
}

} // namespace skald::sip
