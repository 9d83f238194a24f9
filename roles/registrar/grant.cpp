#include "roles/registrar/grant.hpp"

#include "sip/message/via.hpp"

#include <algorithm>

namespace skald::roles {

bool behind_nat(const sip::uri& contact, const sip::token& flow) {
  const auto said = ip_address::parse(contact.host);
  if (!said) return true; // a name says nothing about the way: rather refresh too often than be lost
  if (said->is_private() || *said != flow.remote.ip) return true;
  if (sip::is_stream(flow.transport)) return false; // the port in Contact is where it listens
  const std::uint16_t port = contact.port == 0 ? 5060 : contact.port; // RFC 3261 §19.1.2
  return port != flow.remote.port;
}

std::uint32_t grant_cap(const sip::uri& contact, const sip::token& flow, kept_by keeper, std::uint32_t grant_max_s) {
  if (keeper == kept_by::phone || !behind_nat(contact, flow)) return grant_max_s;
  return std::min(grant_max_s, sip::is_stream(flow.transport) ? grant_stream_behind_nat_s : grant_udp_behind_nat_s);
}

bool offers_keep(const sip::message& request) {
  const auto vias = request.values(sip::header::via);
  if (vias.empty()) return false;
  const auto own = sip::parse_via(vias.back());
  return own && own->param("keep").has_value();
}

} // namespace skald::roles
