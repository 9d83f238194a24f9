#include "sip/message/validate.hpp"

#include "sip/message/cseq.hpp"
#include "sip/message/lex.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/uri.hpp"
#include "sip/message/via.hpp"

#include <algorithm>
#include <array>

namespace skald::sip {

namespace {

using complaint = std::optional<std::string_view>;

struct header_counts {
  std::array<std::uint16_t, static_cast<std::size_t>(header::other) + 1> of{};
  explicit header_counts(const message& m) {
    for (const header_field& f : m.fields()) ++of[static_cast<std::size_t>(f.id)];
  }
  std::uint16_t operator[](header h) const { return of[static_cast<std::size_t>(h)]; }
};

constexpr std::array mandatory = {header::via, header::from, header::to, header::call_id, header::cseq}; // §8.1.1

// Two of these leave open which one counts (RFC 4475 §3.3.8, §3.3.9).
constexpr std::array single = {
    header::from,         header::to,           header::call_id,     header::cseq,        header::max_forwards,
    header::max_breadth,  header::content_type, header::content_length, header::event,    header::expires,
    header::min_expires,  header::refer_to,     header::rack,        header::rseq,        header::session_expires,
    header::sip_if_match, header::date,         header::subscription_state,
};

complaint check_counts(const header_counts& count) {
  for (const header h : mandatory)
    if (count[h] == 0) return "Missing Mandatory Header";
  for (const header h : single)
    if (count[h] > 1) return "Repeated Single Header";
  return std::nullopt;
}

complaint check_vias(const message& m) {
  const auto vias = m.values(header::via);
  const auto parses = [](std::string_view v) { return parse_via(v).has_value(); };
  return !vias.empty() && std::ranges::all_of(vias, parses) ? std::nullopt : complaint("Bad Via");
}

bool is_address(std::string_view value) {
  const auto address = parse_name_addr(value);
  return address && address->uri();
}

// The headers by which a transaction and a dialog are found.
complaint check_identity(const message& m) {
  if (!is_address(*m.line(header::from))) return "Bad From";
  if (!is_address(*m.line(header::to))) return "Bad To";
  const std::string_view call_id = *m.line(header::call_id);
  if (call_id.empty() || call_id.find_first_of(" \t") != std::string_view::npos) return "Bad Call-ID";
  const auto seq = parse_cseq(*m.line(header::cseq));
  if (!seq) return "Bad CSeq";
  // RFC 3261 §8.1.1.5; RFC 4475 §3.1.2.17
  if (m.is_request() && seq->method_name != m.method_name()) return "CSeq Method Differs";
  return std::nullopt;
}

complaint check_request_uri(const message& m) {
  const auto target = parse_uri(m.request_uri());
  if (!target) return "Bad Request-URI";
  if (!target->headers.empty()) return "Headers In Request-URI"; // RFC 3261 §19.1.1, table 1
  return std::nullopt;
}

complaint check_numbers(const message& m) {
  if (const auto length = m.line(header::content_length); length && !parse_number(*length)) return "Bad Content-Length";
  if (const auto hops = m.line(header::max_forwards)) { // RFC 3261 §20.22
    const auto n = parse_number(*hops);
    if (!n || *n > 255) return "Bad Max-Forwards";
  }
  return std::nullopt;
}

complaint check_routing(const message& m) {
  const auto all_addresses = [&m](header h) { return std::ranges::all_of(m.values(h), is_address); };
  if (!all_addresses(header::route)) return "Bad Route";
  if (!all_addresses(header::record_route)) return "Bad Record-Route";
  // "*" is what a REGISTER says to remove all bindings; whether it may is the registrar's to judge (§10.2.2).
  const auto is_contact = [&m](std::string_view v) {
    return is_address(v) || (v == "*" && m.method_id() == method::register_);
  };
  if (!std::ranges::all_of(m.values(header::contact), is_contact)) return "Bad Contact";
  return std::nullopt;
}

// Whether an answer would find its way and its transaction: the topmost Via and what is copied have to be there.
bool is_answerable(const message& m, const header_counts& count) {
  if (m.method_id() == method::ack) return false; // RFC 3261 §17: there is no response to an ACK
  const auto top = m.first(header::via);
  if (!top || !parse_via(*top)) return false;
  return std::ranges::all_of(mandatory, [&count](header h) { return count[h] > 0; });
}

complaint first_complaint(const message& m, const header_counts& count) {
  if (complaint c = check_counts(count)) return c;
  if (complaint c = check_vias(m)) return c;
  if (complaint c = check_identity(m)) return c;
  if (complaint c = check_numbers(m)) return c;
  return std::nullopt;
}

std::optional<verdict> validate_response(const message& m) {
  const header_counts count(m);
  constexpr auto drop = [](std::string_view why) { return verdict{400, why, false}; };
  if (!m.version_ok()) return drop("Version Not Supported");
  if (m.status() > 699) return drop("Bad Status");
  if (complaint c = first_complaint(m, count)) return drop(*c);
  if (m.flaws_found()) return drop("Bad Response"); // too short a body, too (RFC 3261 §18.3)
  return std::nullopt;
}

} // namespace

std::optional<verdict> validate(const message& m) {
  if (!m.is_request()) return validate_response(m);
  const header_counts count(m);
  const auto refuse = [&](int status, std::string_view why) { return verdict{status, why, is_answerable(m, count)}; };
  if (!m.version_ok()) return refuse(505, "Version Not Supported"); // RFC 4475 §3.1.2.16
  if (complaint c = first_complaint(m, count)) return refuse(400, *c);
  if (complaint c = check_request_uri(m)) return refuse(400, *c);
  if (complaint c = check_routing(m)) return refuse(400, *c);
  if (m.flaws_found()) return refuse(400, "Malformed Message");
  return std::nullopt;
}

} // namespace skald::sip
