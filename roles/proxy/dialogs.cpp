// Dialogs as an edge sees them: Contacts for the toll rule, and the `dialogs` table (sip.md §2, §9).
#include "roles/proxy/identity.hpp"
#include "roles/proxy/passage.hpp"
#include "roles/proxy/routes.hpp"
#include "roles/proxy/worker.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::roles {

namespace {

std::string contact_of(const sip::message& m) {
  const auto na = sip::parse_name_addr(m.first(sip::header::contact).value_or(std::string_view{}));
  return na ? std::string(na->uri_text) : std::string{};
}

bool makes_dialog(sip::method m) {
  return m == sip::method::invite || m == sip::method::subscribe;
}
bool refreshes_target(sip::method m) {
  return makes_dialog(m) || m == sip::method::update || m == sip::method::notify;
}

// Our tokens of either side stand in the response's Record-Route.
void take_tokens(const context& c, const sip::message& response, dialog_party& sender, dialog_party& receiver) {
  for (const std::string_view v : response.values(sip::header::record_route)) {
    const auto ours = read_our_route(*c.names, c.from.flow.local, v);
    if (!ours || !ours->token) continue;
    const auto na = sip::parse_name_addr(v);
    const auto u = na->uri();
    switch (fit_of(*ours->token, response)) {
    case token_fit::no:
      break;
    case token_fit::sender:
      sender.token = std::string(u->user);
      sender.binding_id = ours->token->binding_id;
      break;
    case token_fit::receiver:
      receiver.token = std::string(u->user);
      receiver.binding_id = ours->token->binding_id;
      break;
    }
  }
}

ring_key key_for(const dialog_record& d) {
  return dht::key_of_aor(d.caller.aor.empty() ? d.callee.aor : d.caller.aor);
}

void write(worker& w, dialog_memory::entry& e) {
  if (e.record.caller.aor.empty() && e.record.callee.aor.empty()) return;
  const unix_ms now = w.env.cluster.store().cluster_time();
  e.record.updated = now;
  e.written = true;
  w.env.cluster.store().put(
      dht::table::dialogs, key_for(e.record),
      {{.item = e.item, .value = encode(e.record), .expires = now + dialog_life.count(), .remove = false}},
      [](dht::write_result) {}); // not waited for (sip.md §9)
}

void remove(worker& w, const dialog_memory::entry& e) {
  if (!e.written) return;
  w.env.cluster.store().put(dht::table::dialogs, key_for(e.record),
                            {{.item = e.item, .value = {}, .expires = 0, .remove = true}}, [](dht::write_result) {});
}

void begin(worker& w, context& c, const sip::message& response, dialog_memory::entry& e) {
  dialog_record& d = e.record;
  if (d.started == 0) d.started = w.env.cluster.store().cluster_time();
  d.caller.tag = std::string(tag_of(response, sip::header::from));
  d.callee.tag = std::string(tag_of(response, sip::header::to));
  d.caller.aor = c.caller_aor;
  d.callee.aor = to_aor(*c.names, c.original).value_or(std::string{});
  take_tokens(c, response, d.caller, d.callee);
}

void end(worker& w, const sip::message& response) {
  const std::string call_id(response.line(sip::header::call_id).value_or(std::string_view{}));
  const auto from = tag_of(response, sip::header::from), to = tag_of(response, sip::header::to);
  if (const auto* e = w.dialogs.find(call_id, from, to)) remove(w, *e);
  w.dialogs.erase(call_id, from, to);
}

} // namespace

void note_dialog(worker& w, context& c, const sip::message& response) {
  const sip::method m = c.original.method_id();
  const int status = response.status();
  const std::string_view to = tag_of(response, sip::header::to);
  if (to.empty() || status <= 100 || c.branches.empty()) return; // what we answered ourselves says nothing of a dialog
  if (m == sip::method::bye && status >= 200) return end(w, response); // whatever was said to it (RFC 3261 §15.1.1)
  if (status >= 300 || !refreshes_target(m)) return;
  const bool first = tag_of(c.original, sip::header::to).empty();
  const std::string call_id(response.line(sip::header::call_id).value_or(std::string_view{}));
  const std::string_view from = tag_of(response, sip::header::from);
  if (first && !makes_dialog(m)) return;
  if (!first && w.dialogs.find(call_id, from, to) == nullptr && !makes_dialog(m)) return;
  dialog_memory::entry& e = w.dialogs.touch(call_id, from, to, w.env.clock.now());
  const std::string sent = contact_of(c.original), got = contact_of(response);
  dialog_memory::saw_contact(e, sent);
  dialog_memory::saw_contact(e, got);
  if (first) begin(w, c, response, e);
  const bool caller_sent = first || e.record.caller.tag == from;
  dialog_party& sender = caller_sent ? e.record.caller : e.record.callee;
  dialog_party& receiver = caller_sent ? e.record.callee : e.record.caller;
  if (!sent.empty()) sender.contact = sent;
  if (!got.empty()) receiver.contact = got;
  if (status < 200) return;
  if (!first) take_tokens(c, response, sender, receiver);
  if ((first && c.entered == stage::in) || e.written) write(w, e); // the caller's edge alone
}

} // namespace skald::roles
