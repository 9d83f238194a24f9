#include "roles/proxy/passage.hpp"

#include "base/encoding.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/worker.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/token/token.hpp"

#include <algorithm>

namespace skald::roles {

void passage::on_arrived(context& c, branch&, sip::message& response, const sip::arrival& from) {
  if (from.from_link()) return;
  drop_assertions(response);
  if (drop_our_challenges(*c.names, response)) return;
  // A challenge without any: nobody could answer it (sip.md §3).
  response = w_->calls.make_response(c, 500);
}

namespace {

// What a scanner hears: no such user, wrong password, not for you. Whoever gave credentials of ours and got as far as 404
// is a subscriber who mistyped, for they were right; where users are hidden, 480 is what 404 would be.
bool is_miss(const context& c, const sip::message& response) {
  const int status = response.status();
  if (status == 403) return true;
  if (status != 404 && !(status == 480 && c.facts().config->hide_users)) return false;
  return !credentials_aor(*c.names, c.original, sip::header::proxy_authorization);
}

void note_miss(worker& w, const context& c, const sip::message& response) {
  if (c.answered || c.entered != stage::in || c.from.from_link() || !is_miss(c, response) || !tag_of(c.original, sip::header::to).empty()) return;
  const mono_time now = w.env.clock.now();
  if (w.flows.knows(c.from.flow, now) || is_trusted_peer(*c.facts().config, c.from, w.env.clock.wall())) return;
  w.scans.miss(c.from.flow.remote.ip, now);
}

} // namespace

void passage::on_passing(context& c, sip::message& response) {
  note_miss(*w_, c, response);
  if (c.entered != stage::in && c.entered != stage::out) return;
  if (c.learns_flow && response.status() / 100 == 2) learn_flow(*w_, c, response);
  note_dialog(*w_, c, response);
  if (!c.from.from_link()) leave_trust(response);
}

namespace {

// The Contact of the answer that is this Contact of the request.
std::optional<sip::name_addr> granted(const sip::message& response, const sip::uri& asked) {
  for (const std::string_view v : response.values(sip::header::contact)) {
    const auto na = sip::parse_name_addr(v);
    if (!na) continue;
    const auto u = na->uri();
    if (u && sip::equal(*u, asked)) return *na;
  }
  return std::nullopt;
}

std::uint64_t id_of(std::string_view aor, const sip::name_addr& contact) {
  const auto instance = contact.param("+sip.instance");
  const auto reg_id = sip::parse_number(contact.param("reg-id").value_or("0")).value_or(0);
  if (instance && reg_id != 0) return sip::binding_id(aor, *instance, reg_id);
  return sip::binding_id(aor, contact.uri_text);
}

// UDP whose phone pings by itself, or does not need it (RFC 5626, RFC 6223).
bool pings_by_itself(const context& c, const sip::message& response) {
  if (response.lists(sip::header::require, "outbound")) return true;
  const auto top = c.original.first(sip::header::via);
  const auto params = top ? top->find(";keep") : std::string_view::npos;
  return top && params != std::string_view::npos;
}

} // namespace

void learn_flow(worker& w, context& c, const sip::message& response) {
  const mono_time now = w.env.clock.now();
  const sip::flow& f = c.from.flow;
  std::uint32_t longest = 0;
  std::uint64_t id = 0;
  std::string contact;
  bool asked = false;
  for (const std::string_view v : c.original.values(sip::header::contact)) {
    asked = true;
    const auto na = sip::parse_name_addr(v);
    const auto u = na ? na->uri() : std::unexpected(errc::malformed);
    if (!u) continue; // "*"
    const auto held = granted(response, *u);
    const std::uint32_t s = held ? sip::parse_number(held->param("expires").value_or("0")).value_or(0) : 0;
    if (s <= longest) continue;
    longest = s;
    id = id_of(c.caller_aor, *na);
    contact = std::string(na->uri_text);
  }
  if (!asked) return; // a fetch
  if (longest == 0) {
    w.flows.forget(f, c.caller_aor);
    if (!w.flows.knows(f, now)) w.pinger.stop(f);
    return;
  }
  const mono_time until = now + seconds(longest);
  if (!w.flows.learn(f, c.caller_aor, id, until)) return;
  if (f.transport == sip::transport::udp && !pings_by_itself(c, response))
    w.pinger.watch(f, std::move(contact), until, c.names);
}

} // namespace skald::roles
