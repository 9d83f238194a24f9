// `out`: what leaves the cluster, over a flow that we hold or towards a foreign server (sip.md §1, §2).
#include "base/metrics.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/record_route.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::roles {

namespace {

metrics::counter insecure_refused("skald_proxy_sips_refused_total", "sips: requests for which there was no TLS flow.");

void clean(const name_index& names, sip::message& m) {
  leave_trust(m);
  drop_our_credentials(names, m);
}

} // namespace

std::expected<way, int> way_by_token(worker& w, const name_index& names, sip::message m, const our_route& r,
                                     bool secure, leg_use use) {
  const sip::token& t = *r.token;
  const cluster_facts& facts = *names.facts();
  if (t.node != facts.view->self.head()) {
    const dht::member* edge = names.member_of_head(t.node);
    if (edge == nullptr || !edge->alive()) return std::unexpected(430);
    const std::string text = sip::seal_token(t, *facts.keys, w.env.clock.wall());
    m.prepend(sip::header::route, token_uri(text, r.host, t.transport, uri_use::record_route, false));
    way out;
    out.kind = way::kind::link;
    out.request = std::move(m);
    out.node = edge->id;
    out.link_route = make_link_route(names, edge->id, {.stage = stage::out, .secure = secure, .use = use});
    return out;
  }
  if (secure && t.transport != sip::transport::tls) { // sip.md §2
    insecure_refused.add();
    return std::unexpected(480);
  }
  way out;
  out.kind = way::kind::flow;
  out.flow = t.flow();
  out.binding_id = t.binding_id;
  out.use = use;
  if (use == leg_use::attach) return out; // nothing of it is sent
  if (w.flows.gone(out.flow) || !w.env.flows.alive(out.flow)) return std::unexpected(430);
  if (w.flows.moved(out.flow, t.binding_id, w.env.clock.now())) return std::unexpected(430); // sip.md §6
  clean(names, m);
  if (wants_record_route(m.method_id()))
    add_record_route(w.env, names, m, out.flow, t.binding_id, sip::token_side::to, r.host, secure);
  out.request = std::move(m);
  return out;
}

std::expected<way, int> way_to_binding(worker& w, const context& c, const binding& b, leg_use use) {
  if (b.path.empty()) return std::unexpected(480);
  const auto ours = read_our_route(*c.names, c.from.flow.local, b.path.front());
  if (!ours || !ours->token) return std::unexpected(480);
  sip::message m = c.request;
  m.set_request_uri(b.contact);
  for (std::size_t i = b.path.size(); i-- > 1;)
    m.prepend(sip::header::route, b.path[i]);
  our_route edge = *ours;
  edge.token->binding_id = b.id;
  return way_by_token(w, *c.names, std::move(m), edge, c.secure, use);
}

way way_outside(const name_index& names, sip::message m) {
  clean(names, m);
  way out;
  out.kind = way::kind::server;
  out.unreachable = 480;
  out.next_hop = std::string(m.request_uri());
  if (const auto top = m.first(sip::header::route)) {
    const auto na = sip::parse_name_addr(*top);
    if (na) {
      out.next_hop = std::string(na->uri_text);
      const auto u = na->uri();
      if (u && !u->has_param("lr")) { // RFC 3261 §16.6 step 6: a strict router
        m.append(sip::header::route, "<" + std::string(m.request_uri()) + ">");
        m.remove_first_value(sip::header::route);
        m.set_request_uri(out.next_hop);
      }
    }
  }
  out.request = std::move(m);
  return out;
}

void run_out_foreign(worker& w, const context_ptr& c, stage from) {
  const std::string& edge = c->edge_name;
  const dht::member& me = c->facts().view->me();
  if (from != stage::out && c->from.from_link() && !edge.empty() && edge != me.body.name) {
    const dht::member* node = c->facts().view->find_name(edge);
    if (node == nullptr || !node->alive()) return w.calls.answer(c, 480);
    way back;
    back.kind = way::kind::link;
    back.request = c->request;
    back.node = node->id;
    back.unreachable = 480;
    back.link_route = make_link_route(*c->names, node->id, {.stage = stage::out, .secure = c->secure});
    return w.calls.forward(c, from, std::move(back));
  }
  w.calls.forward(c, stage::out, way_outside(*c->names, c->request));
}

} // namespace skald::roles
