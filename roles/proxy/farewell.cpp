// The end of a call that nobody took: the 2xx of an orphaned leg is acknowledged, and the dialog ended with BYE, as the
// caller would have (sip.md §6; RFC 3261 §13.2.2.4, §15.1.1).
#include "roles/proxy/farewell.hpp"

#include "roles/proxy/identity.hpp"
#include "roles/proxy/routes.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::roles {

std::optional<sip::message> make_as_caller(const name_index& names, const endpoint& local, const sip::message& success,
                                           std::string_view method, std::uint32_t cseq_step) {
  const auto contact = sip::parse_name_addr(success.first(sip::header::contact).value_or(std::string_view{}));
  const auto cseq = sip::parse_cseq(success.line(sip::header::cseq).value_or(std::string_view{}));
  if (!contact || !cseq) return std::nullopt;
  sip::message m = sip::message::request(method, contact->uri_text);
  m.append(sip::header::max_forwards, std::to_string(max_forwards_default));
  // RFC 3261 §12.1.2: the route set, reversed. It begins with ours: from here the rest is the way.
  auto routes = success.values(sip::header::record_route);
  while (!routes.empty() && read_our_route(names, local, routes.back()))
    routes.pop_back();
  while (!routes.empty()) {
    m.append(sip::header::route, routes.back());
    routes.pop_back();
  }
  for (const sip::header h : {sip::header::from, sip::header::to, sip::header::call_id})
    m.append(h, success.line(h).value_or(std::string_view{}));
  m.append(sip::header::cseq, std::to_string(cseq->number + cseq_step) + " " + std::string(method));
  return m;
}

} // namespace skald::roles
