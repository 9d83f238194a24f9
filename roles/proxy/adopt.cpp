// An edge that restarted: UDP flows outlive it, and the bindings that name it say which they were (sip.md §4).
#include "roles/proxy/core.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/token/token.hpp"

namespace skald::roles {

std::optional<sip::flow> flow_of(const binding& b, const key_ring& keys) {
  const auto top = b.path.empty() ? std::unexpected(errc::missing) : sip::parse_name_addr(b.path.front());
  const auto uri = top ? top->uri() : std::unexpected(errc::missing);
  const auto token = uri ? sip::open_token(uri->user, keys) : std::unexpected(errc::missing);
  if (!token || token->kind != sip::token_kind::path) return std::nullopt;
  return token->flow();
}

bool adopt_binding(worker& w, const binding& b) {
  const auto names = w.names();
  const auto flow = flow_of(b, *names->facts()->keys);
  if (!flow || flow->transport != sip::transport::udp) return false; // streams ended with the process
  const unix_ms left = b.expires - w.env.cluster.store().cluster_time();
  if (left <= 0) return false;
  const mono_time until = w.env.clock.now() + milliseconds(left);
  if (!w.flows.learn(*flow, b.aor, b.id, until)) return false;
  const bool pings_by_itself = b.reg_id != 0; // RFC 5626: the registration asked for outbound
  if (!pings_by_itself) w.pinger.watch(*flow, b.contact, until, names);
  return true;
}

} // namespace skald::roles
