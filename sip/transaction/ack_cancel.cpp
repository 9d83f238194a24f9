#include "sip/transaction/ack_cancel.hpp"

#include "sip/message/cseq.hpp"

#include <string>

namespace skald::sip {

namespace {

message derived(const message& invite, std::string_view method, std::string_view to) {
  message out = message::request(method, invite.request_uri());
  if (const auto top = invite.first(header::via)) out.append(header::via, *top); // a single Via, equal to the topmost
  for (const std::string_view route : invite.values(header::route))
    out.append(header::route, route);
  out.append(header::max_forwards, invite.line(header::max_forwards).value_or("70"));
  out.append(header::from, invite.line(header::from).value_or(std::string_view{}));
  out.append(header::to, to);
  out.append(header::call_id, invite.line(header::call_id).value_or(std::string_view{}));
  const auto number = parse_cseq(invite.line(header::cseq).value_or(std::string_view{}));
  out.append(header::cseq, std::to_string(number ? number->number : 0).append(" ").append(method));
  return out;
}

} // namespace

message make_ack(const message& invite, const message& response) {
  return derived(invite, "ACK", response.line(header::to).value_or(std::string_view{}));
}

message make_cancel(const message& invite, std::string_view reason) {
  message out = derived(invite, "CANCEL", invite.line(header::to).value_or(std::string_view{}));
  if (!reason.empty()) out.append(header::reason, reason);
  return out;
}

} // namespace skald::sip
