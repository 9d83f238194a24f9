// The ACK of a 2xx: by Route and tokens, without state (sip.md §6).
#include "base/metrics.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/in_dialog.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/cseq.hpp"

namespace skald::roles {

namespace {

metrics::counter dropped("skald_proxy_acks_dropped_total", "ACKs that could not be placed.");

void put_on_wire(worker& w, std::shared_ptr<const name_index> names, sip::message m, const sip::flow& f) {
  w.calls.put_via(m, f, 0, *names);
  w.env.transactions->send_stateless(m, f);
}

void send_way(worker& w, std::shared_ptr<const name_index> names, way out) {
  w.calls.legs().saw_ack(out.request); // which may be here though the UA is reached by another edge now
  switch (out.kind) {
  case way::kind::flow:
    return put_on_wire(w, std::move(names), std::move(out.request), out.flow);
  case way::kind::link:
    out.request.prepend(sip::header::route, out.link_route);
    return w.env.flows.open_link(
        out.node, [&w, alive = w.alive, names, m = std::move(out.request)](std::optional<sip::flow> f) mutable {
          if (!*alive) return;
          if (f)
            put_on_wire(w, names, std::move(m), *f);
          else
            dropped.add();
        });
  case way::kind::server:
    break;
  }
  w.resolver.resolve(
      out.next_hop, [&w, alive = w.alive, names, m = std::move(out.request)](std::vector<sip::target> targets) mutable {
        if (!*alive) return;
        if (targets.empty()) return dropped.add();
        w.env.flows.open(targets.front(), [&w, alive, names, m = std::move(m)](std::optional<sip::flow> f) mutable {
          if (!*alive) return;
          if (f)
            put_on_wire(w, names, std::move(m), *f);
          else
            dropped.add();
        });
      });
}

bool take_hop_silently(sip::message& m) {
  const auto line = m.line(sip::header::max_forwards);
  const std::uint32_t left = line ? sip::parse_number(*line).value_or(0) : max_forwards_default;
  if (left == 0) return false;
  m.set(sip::header::max_forwards, std::to_string(left - 1));
  return true;
}

void forward_from_link(worker& w, std::shared_ptr<const name_index> names, sip::message m, const sip::arrival& from) {
  const auto stage_route = m.first(sip::header::route);
  const auto r = stage_route ? read_link_route(*names, *stage_route) : std::nullopt;
  if (!r || r->stage != stage::out) return dropped.add();
  m.remove_first_value(sip::header::route);
  const auto top = m.first(sip::header::route);
  const auto ours = top ? read_our_route(*names, from.flow.local, *top) : std::nullopt;
  if (!ours || !ours->token ||
      (ours->token->kind == sip::token_kind::dialog && fit_of(*ours->token, m) == token_fit::no) ||
      ours->token->node != names->facts()->view->self.head())
    return dropped.add();
  m.remove_first_value(sip::header::route);
  auto out = way_by_token(w, *names, m, *ours, r->secure);
  if (out) return send_way(w, std::move(names), std::move(*out));
  // The edge before cannot be told that the flow is gone: there is no answer to an ACK. A path token is that of the newest flow.
  if (out.error() != 430 || ours->token->kind != sip::token_kind::dialog) return dropped.add();
  find_again(w, names, std::move(m), *ours, r->secure, [&w, alive = w.alive, names](std::expected<way, int> found) {
    if (!*alive) return;
    if (!found) return dropped.add();
    send_way(w, names, std::move(*found));
  });
}

} // namespace

void forward_ack(worker& w, sip::message ack, const sip::arrival& from) {
  auto names = w.names();
  if (from.from_link()) return forward_from_link(w, std::move(names), std::move(ack), from);
  cut_our_params(*names, ack);
  drop_assertions(ack);
  if (!take_hop_silently(ack)) return dropped.add();
  const auto u = sip::parse_uri(ack.request_uri());
  if (!u || tag_of(ack, sip::header::to).empty()) return dropped.add();
  dialog_plan plan = plan_in_dialog(*names, from.flow.local, ack);
  const bool secure = u->scheme == sip::uri_scheme::sips;
  route_in_dialog(w, names, from, std::move(ack), std::move(plan), secure, [&w, names](std::expected<way, int> found) {
    if (!found) return dropped.add();
    send_way(w, names, std::move(*found));
  });
}

} // namespace skald::roles
