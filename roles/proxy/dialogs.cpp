// Dialogs as an edge sees them: Contacts for the toll rule, and the `dialogs` table (sip.md §2, §9).
#include "roles/proxy/dialog_keeper.hpp"
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

void write(worker& w, const dialog_record& d) {
  w.env.cluster.store().put(
      dht::table::dialogs, key_for(d),
      {{.item = d.item(), .value = encode(d), .expires = d.updated + dialog_life.count(), .remove = false}},
      [](dht::write_result) {}); // not waited for (sip.md §9)
}

void remove(worker& w, const dialog_memory::entry& e) {
  if (!e.written) return;
  w.env.cluster.store().put(dht::table::dialogs, key_for(e.record),
                            {{.item = e.item, .value = {}, .expires = 0, .remove = true}}, [](dht::write_result) {});
}

void begin(const context& c, const sip::message& response, dialog_record& d, unix_ms now) {
  if (d.started == 0) d.started = now;
  d.caller.tag = std::string(tag_of(response, sip::header::from));
  d.callee.tag = std::string(tag_of(response, sip::header::to));
  if (!c.caller_aor.empty()) d.caller.aor = c.caller_aor; // known at the caller's edge
  d.callee.aor = to_aor(*c.names, c.original).value_or(std::string{});
  take_tokens(c, response, d.caller, d.callee);
}

void end(worker& w, const sip::message& response) {
  const std::string call_id(response.line(sip::header::call_id).value_or(std::string_view{}));
  const auto known = w.dialogs.take(call_id, tag_of(response, sip::header::from), tag_of(response, sip::header::to));
  if (known) remove(w, *known);
}

// What a response that passes says of its dialog.
void take(context& c, const sip::message& response, bool first, unix_ms now, dialog_memory::entry& e) {
  const std::string sent = contact_of(c.original), got = contact_of(response);
  dialog_memory::saw_contact(e, sent);
  dialog_memory::saw_contact(e, got);
  if (first) begin(c, response, e.record, now);
  const bool caller_sent = first || e.record.caller.tag == tag_of(response, sip::header::from);
  dialog_party& sender = caller_sent ? e.record.caller : e.record.callee;
  dialog_party& receiver = caller_sent ? e.record.callee : e.record.caller;
  if (!sent.empty()) sender.contact = sent;
  if (!got.empty()) receiver.contact = got;
  if (response.status() < 200) return;
  if (!first) take_tokens(c, response, sender, receiver);
  const bool anybody = !e.record.caller.aor.empty() || !e.record.callee.aor.empty();
  if (!anybody || !((first && c.entered == stage::in) || e.written)) return; // the caller's edge alone
  e.record.updated = now;
  e.written = true;
}

} // namespace

void note_dialog(worker& w, context& c, const sip::message& response) {
  const sip::method m = c.original.method_id();
  const int status = response.status();
  const std::string_view to = tag_of(response, sip::header::to);
  const bool bye_ends = m == sip::method::bye && status >= 200;
  if (bye_ends && c.undelivered && c.entered == stage::in) return keep_bye(w, c); // it ended nothing (sip.md §6)
  if (to.empty() || status <= 100 || c.branches.empty()) return; // what we answered ourselves says nothing of a dialog
  if (bye_ends) return end(w, response); // whatever was said to it (RFC 3261 §15.1.1)
  if (status >= 300 || !refreshes_target(m)) return;
  const bool first = tag_of(c.original, sip::header::to).empty();
  const std::string call_id(response.line(sip::header::call_id).value_or(std::string_view{}));
  const std::string_view from = tag_of(response, sip::header::from);
  if (!makes_dialog(m) && (first || !w.dialogs.has(dialog_item(call_id, from, to)))) return;
  const unix_ms now = w.env.cluster.store().cluster_time();
  const dialog_memory::entry e = w.dialogs.update(
      call_id, from, to, w.env.clock.now(), [&](dialog_memory::entry& one) { take(c, response, first, now, one); });
  if (e.written && status >= 200) write(w, e.record);
}

} // namespace skald::roles
