#include "sip/transaction/server_transactions.hpp"

#include "base/metrics.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::sip {

namespace {

metrics::counter retransmissions_in("skald_sip_request_retransmissions_total", "Requests that were seen before");
metrics::counter acks_missing("skald_sip_acks_missing_total",
                              "INVITE transactions whose final response nobody acknowledged");
metrics::counter responses_unsent("skald_sip_responses_unsent_total", "Responses whose flow was gone");
metrics::counter without_via("skald_sip_dropped_total", "Messages dropped by the transaction layer",
                             R"(reason="no_via")");

} // namespace

struct server_transactions::transaction {
  transaction(server_id i, const transaction_key& k, std::string base, const flow& f, bool invite,
              const timer_values& v)
      : id(i), key(k), legacy_base(std::move(base)), where(f),
        machine(invite ? machines(invite_server(v, reliability_of(f.transport)))
                       : machines(non_invite_server(v, reliability_of(f.transport)))) {}

  using machines = std::variant<invite_server, non_invite_server>;
  server_id id;
  owned_key key;
  std::string legacy_base;            // empty: the branch has the cookie
  std::unique_ptr<owned_key> ack_key; // legacy only: a second key, made by the final response
  flow where;
  std::string last; // the last response, where it may have to be sent again (UDP)
  machines machine;
  transaction_timers timers;
};

server_transactions::server_transactions(const layer_context& context) : ctx_(context) {}

server_transactions::~server_transactions() {
  for (auto& [id, t] : by_id_)
    t->timers.stop(ctx_.timers);
}

server_transactions::transaction* server_transactions::find(const message& request, std::string_view method) const {
  const server_key key(request, method);
  if (!key.valid()) return nullptr;
  const auto it = by_key_.find(key.view());
  return it == by_key_.end() ? nullptr : it->second;
}

// RFC 3261 §17.2.3
bool server_transactions::knows(const message& request) const {
  if (!request.is_request()) return false;
  switch (request.method_id()) {
  case method::ack:
    return find(request, "INVITE") != nullptr;
  case method::cancel:
    return find(request, "CANCEL") != nullptr || find(request, "INVITE") != nullptr;
  case method::invite:
  case method::bye:
  case method::register_:
  case method::options:
  case method::message:
  case method::info:
  case method::prack:
  case method::update:
  case method::refer:
  case method::subscribe:
  case method::notify:
  case method::publish:
  case method::other:
    return find(request, request.method_name()) != nullptr;
  }
  return false;
}

void server_transactions::receive(message request, const arrival& from) {
  if (request.method_id() == method::ack) return receive_ack(std::move(request), from);
  if (transaction* t = find(request, request.method_name())) {
    retransmissions_in.add();
    // The answer goes where this copy came from: the phone's NAT may have given it a new port since.
    if (auto* invite = std::get_if<invite_server>(&t->machine))
      step(*t, *invite, invite_server::input::request, from.flow, {});
    else
      step(*t, std::get<non_invite_server>(t->machine), non_invite_server::input::request, from.flow, {});
    return;
  }
  if (!server_key(request, {}).valid()) return without_via.add();
  const server_id id = create(request, from).id;
  if (request.method_id() != method::cancel) return ctx_.user.on_request(id, std::move(request), from);
  const transaction* invite = find(request, "INVITE"); // §9.2
  ctx_.user.on_cancel(id, invite ? invite->id : server_id::none, std::move(request), from);
}

void server_transactions::receive_ack(message request, const arrival& from) {
  transaction* t = find(request, "INVITE");
  auto* invite = t ? std::get_if<invite_server>(&t->machine) : nullptr;
  // In Accepted it acknowledges the 2xx (some phones use the INVITE's branch for it): the user's (RFC 6026 §7.1)
  if (!invite || invite->current() == invite_server::state::accepted) return ctx_.user.on_ack(std::move(request), from);
  step(*t, *invite, invite_server::input::ack, from.flow, {});
}

server_transactions::transaction& server_transactions::create(const message& request, const arrival& from) {
  const server_key key(request, request.method_name());
  const server_id id{next_++};
  auto made = std::make_unique<transaction>(id, key.view(), key.legacy_base(), from.flow,
                                            request.method_id() == method::invite, ctx_.values);
  transaction& t = *made;
  by_key_.emplace(t.key.view(), &t);
  by_id_.emplace(id, std::move(made));
  return t;
}

void server_transactions::respond(server_id id, const message& response) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return;
  transaction& t = *it->second;
  if (auto* invite = std::get_if<invite_server>(&t.machine)) return respond_invite(t, *invite, response);
  auto& machine = std::get<non_invite_server>(t.machine);
  if (machine.current() == non_invite_server::state::completed) return; // §17.2.2: further finals are discarded
  const std::string bytes = response.serialize();
  if (!is_stream(t.where.transport)) t.last = bytes;
  step(t, machine,
       response.status() < 200 ? non_invite_server::input::respond_provisional
                               : non_invite_server::input::respond_final,
       t.where, bytes);
  if (answers_anew(request_method(id), response.status())) forget_soon(id);
}

// RFC 3261 §26.3.2.4: a challenge is said once, and no state is kept for who has not shown credentials; its repetition is
// challenged again. Where many come the same is done for all answers to REGISTER, which can be done twice (§10.3): a
// wave of registrations must not take the place of calls.
bool server_transactions::answers_anew(std::string_view method, int status) const {
  return status == 401 || status == 407 || (status >= 200 && method == "REGISTER" && by_id_.size() > register_answers_max);
}

std::string_view server_transactions::request_method(server_id id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? std::string_view{} : it->second->key.view().method;
}

void server_transactions::forget_soon(server_id id) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return;
  timer_id& end = it->second->timers.end;
  ctx_.timers.cancel(end);
  end = ctx_.timers.at(ctx_.clk.now(), [this, id] { fire<non_invite_server>(id, &transaction_timers::end, non_invite_server::input::timer_j); });
}

void server_transactions::respond_invite(transaction& t, invite_server& machine, const message& response) {
  using input = invite_server::input;
  const input i = response.status() < 200   ? input::respond_provisional
                  : response.status() < 300 ? input::respond_success
                                            : input::respond_rejection;
  const std::string bytes = response.serialize();
  // A 2xx is never repeated by this machine, so it does not push out the rejection that is.
  const bool first_final = machine.current() == invite_server::state::proceeding;
  if (first_final && i != input::respond_success && !is_stream(t.where.transport)) t.last = bytes;
  if (first_final && i == input::respond_rejection) remember_legacy_ack(t, response);
  step(t, machine, i, t.where, bytes);
}

void server_transactions::remember_legacy_ack(transaction& t, const message& response) {
  if (t.legacy_base.empty()) return;
  const auto to = parse_name_addr(response.line(header::to).value_or(std::string_view{}));
  const std::string text = server_key::legacy_ack(t.legacy_base, to ? to->tag() : std::string_view{});
  t.ack_key = std::make_unique<owned_key>(transaction_key{text, {}, 0, "INVITE"});
  by_key_.emplace(t.ack_key->view(), &t);
}

// `bytes`: a response just given; empty: the last one again.
template <class Machine>
void server_transactions::step(transaction& t, Machine& machine, typename Machine::input i, const flow& where,
                               std::string_view bytes) {
  const auto effects = machine.on(i);
  arm<Machine>(t, effects.timers);
  const std::string_view out = bytes.empty() ? std::string_view(t.last) : bytes;
  if (effects.send_response && !out.empty() && !ctx_.sender.send(where, out)) {
    responses_unsent.add();
    machine.on(Machine::input::transport_error); // stays where it is (RFC 6026 §7.1)
  }
  if (effects.ended) end(t, effects.ack);
}

template <class Machine>
void server_transactions::arm(transaction& t, const timer_orders<typename Machine::input>& orders) {
  const auto set = [&](timer_id transaction_timers::* slot, const std::optional<alarm<typename Machine::input>>& a,
                       bool stop) {
    if (!a && !stop) return;
    ctx_.timers.cancel(std::exchange(t.timers.*slot, timer_id::none));
    if (!a) return;
    t.timers.*slot = ctx_.timers.at(ctx_.clk.now() + a->after,
                                    [this, slot, id = t.id, i = a->fires] { fire<Machine>(id, slot, i); });
  };
  set(&transaction_timers::repeat, orders.repeat, orders.stop_repeat);
  set(&transaction_timers::end, orders.end, orders.stop_end);
}

template <class Machine>
void server_transactions::fire(server_id id, timer_id transaction_timers::* slot, typename Machine::input i) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return;
  transaction& t = *it->second;
  t.timers.*slot = timer_id::none;
  step(t, std::get<Machine>(t.machine), i, t.where, {});
}

void server_transactions::end(transaction& t, acknowledgement ack) {
  const server_id id = t.id;
  if (ack == acknowledgement::missing) acks_missing.add();
  t.timers.stop(ctx_.timers);
  by_key_.erase(t.key.view());
  if (t.ack_key)
    if (const auto it = by_key_.find(t.ack_key->view()); it != by_key_.end() && it->second == &t) by_key_.erase(it);
  by_id_.erase(id);
  ctx_.user.on_server_ended(id, ack == acknowledgement::not_needed);
}

} // namespace skald::sip
