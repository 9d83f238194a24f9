#include "roles/proxy/moved_flows.hpp"

#include "base/metrics.hpp"
#include "roles/proxy/record_route.hpp"
#include "roles/proxy/stages.hpp"

namespace skald::roles {

namespace {

metrics::counter told("skald_edge_moved_flows_total", "Bindings that went to another flow.", R"(fate="told")");
metrics::counter heard("skald_edge_moved_flows_total", "Bindings that went to another flow.", R"(fate="heard")");
metrics::counter untold("skald_edge_moved_flows_total", "Bindings that went to another flow.", R"(fate="edge_gone")");

void note(worker& w, const sip::token& t, bool removed) {
  heard.add();
  if (removed) return w.flows.forget(t.flow(), t.binding_id);
  w.flows.mark_moved(t.flow(), t.binding_id, w.env.clock.now() + moved_memory);
}

} // namespace

void tell_former_edge(worker& w, const registrar_port::moved_binding& moved) {
  const auto names = w.names();
  const cluster_facts& facts = *names->facts();
  sip::token t = moved.flow;
  t.binding_id = moved.binding_id;
  if (t.node == facts.view->self.head()) return note(w, t, moved.removed);
  const dht::member* edge = names->member_of_head(t.node);
  if (edge == nullptr || !edge->alive()) return untold.add(); // its tokens are read by others, who know that it is dead
  sip::message m = sip::message::request("OPTIONS", "sip:" + facts.config->default_domain);
  m.append(sip::header::max_forwards, "1");
  m.append(sip::header::from, "<sip:" + facts.config->default_domain + ">;tag=" + w.calls.unique_tag());
  m.append(sip::header::to, "<sip:" + facts.config->default_domain + ">");
  m.append(sip::header::call_id, w.calls.unique_tag());
  m.append(sip::header::cseq, "1 OPTIONS");
  m.append(sip::header::route, make_link_route(*names, edge->id, {.stage = stage::out, .moved = true, .removed = moved.removed}));
  const std::string text = sip::seal_token(t, *facts.keys, w.env.clock.wall());
  m.append(sip::header::route, token_uri(text, names->host_of(edge->id), t.transport, uri_use::path, false));
  told.add();
  w.env.flows.open_link(edge->id, [&w, alive = w.alive, names, m = std::move(m)](std::optional<sip::flow> f) mutable {
    if (!*alive || !f) return;
    w.calls.put_via(m, *f, 0, *names);
    w.env.transactions->abandon(w.env.transactions->send_request(m, *f));
  });
}

void take_moved(worker& w, const context_ptr& c, bool removed) {
  const auto top = c->request.first(sip::header::route);
  const auto ours = top ? read_our_route(*c->names, c->from.flow.local, *top) : std::nullopt;
  if (!ours || !ours->token || ours->token->node != c->facts().view->self.head()) return w.calls.answer(c, 400);
  note(w, *ours->token, removed);
  w.calls.answer(c, 200);
}

} // namespace skald::roles
