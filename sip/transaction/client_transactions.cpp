#include "sip/transaction/client_transactions.hpp"

#include "base/metrics.hpp"
#include "sip/message/via.hpp"
#include "sip/transaction/ack_cancel.hpp"

namespace skald::sip {

namespace {

metrics::counter retransmissions_out("skald_sip_request_repeats_sent_total", "Requests sent again by timers A and E");
metrics::counter timeouts("skald_sip_client_failures_total", "Requests without a final response",
                          R"(reason="timed_out")");
metrics::counter flows_lost("skald_sip_client_failures_total", "Requests without a final response",
                            R"(reason="flow_gone")");

// One number for one connection of one worker. Only streams break; a UDP flow is gone when a send fails.
std::uint64_t stream_key(const flow& f) {
  return static_cast<std::uint64_t>(f.transport) << 48 | static_cast<std::uint64_t>(f.worker) << 32 | f.serial;
}

std::string_view branch_of(const message& m) {
  const auto value = m.first(header::via);
  if (!value) return {};
  const auto top = parse_via(*value);
  return top ? top->branch : std::string_view{};
}

} // namespace

struct client_transactions::transaction {
  using machines = std::variant<invite_client, non_invite_client>;
  enum class cancelling : std::uint8_t { no, held_back, sent };

  transaction(client_id i, const transaction_key& k, const flow& f, owner o, bool is_invite, const timer_values& v)
      : id(i), key(k), where(f), whose(o),
        machine(is_invite ? machines(invite_client(v, reliability_of(f.transport)))
                          : machines(non_invite_client(v, reliability_of(f.transport)))) {}

  client_id id;
  owned_key key;
  flow where;
  owner whose;                     // layer: nobody is told (our CANCELs, and what was abandoned)
  std::optional<message> invite{}; // ACK and CANCEL are made from it
  std::string wire{};              // the request, where it may have to be sent again (UDP)
  std::string ack{};
  cancelling cancel = cancelling::no;
  std::string cancel_reason{};
  machines machine;
  transaction_timers timers{};
};

client_transactions::client_transactions(const layer_context& context) : ctx_(context) {}

client_transactions::~client_transactions() {
  for (auto& [id, t] : by_id_)
    t->timers.stop(ctx_.timers);
}

client_transactions::transaction* client_transactions::find(client_id id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second.get();
}

client_id client_transactions::send(const message& request, const flow& where) {
  return start(request, where, owner::user);
}

client_id client_transactions::start(const message& request, const flow& where, owner whose) {
  const transaction_key key{branch_of(request), {}, 0, request.method_name()};
  SKALD_ASSERT(!key.branch.empty());
  const client_id id{next_++};
  const bool is_invite = request.method_id() == method::invite;
  auto made = std::make_unique<transaction>(id, key, where, whose, is_invite, ctx_.values);
  transaction& t = *made;
  if (is_invite) t.invite = request;
  t.wire = request.serialize();
  const bool unique = by_key_.emplace(t.key.view(), &t).second;
  SKALD_ASSERT(unique);
  by_id_.emplace(id, std::move(made));
  if (is_stream(where.transport)) by_stream_[stream_key(where)].insert(id);

  const bool sent = std::visit(
      [&]<class Machine>(Machine& machine) {
        const auto effects = machine.on(Machine::input::start);
        arm<Machine>(t, effects.timers);
        const bool ok = put_on_wire<Machine>(t, effects, nullptr);
        // The caller does not know the id yet, so it hears of the failure on the next turn.
        if (!ok)
          arm<Machine>(
              t, {.repeat = {}, .end = {{Machine::input::transport_error, duration::zero()}}, .stop_repeat = true});
        return ok;
      },
      t.machine);
  if (!sent || is_stream(where.transport)) std::string().swap(t.wire);
  return id;
}

// RFC 3261 §17.1.3: the branch of the topmost Via and the method of CSeq.
void client_transactions::receive(message response, const arrival& from) {
  const auto it = by_key_.find(transaction_key{branch_of(response), {}, 0, response.method_name()});
  if (it == by_key_.end()) return ctx_.user.on_stray_response(std::move(response), from);
  transaction& t = *it->second;
  const client_id id = t.id;
  const int status = response.status();
  if (auto* invite = std::get_if<invite_client>(&t.machine)) {
    using input = invite_client::input;
    const input i = status < 200 ? input::provisional : status < 300 ? input::success : input::rejection;
    if (step(t, *invite, i, &response, &from) && i == input::provisional) after_provisional(id);
    return;
  }
  using input = non_invite_client::input;
  step(t, std::get<non_invite_client>(t.machine), status < 200 ? input::provisional : input::final_response, &response,
       &from);
}

template <class Machine>
bool client_transactions::put_on_wire(transaction& t, const typename Machine::effects& effects,
                                      const message* response) {
  if (effects.send_ack) {
    if (t.ack.empty() && t.invite && response) t.ack = make_ack(*t.invite, *response).serialize();
    return ctx_.sender.send(t.where, t.ack);
  }
  return !effects.send_request || ctx_.sender.send(t.where, t.wire);
}

template <class Machine>
bool client_transactions::step(transaction& t, Machine& machine, typename Machine::input i, message* response,
                               const arrival* from) {
  const client_id id = t.id;
  const auto effects = machine.on(i);
  arm<Machine>(t, effects.timers);
  if (effects.send_request) retransmissions_out.add();
  const bool sent = put_on_wire<Machine>(t, effects, response);
  // Whom it concerns is told of the answer before it hears that the transport failed. It may call back into the layer.
  if (effects.deliver && t.whose == owner::user) ctx_.user.on_response(id, std::move(*response), *from);
  if (!find(id)) return false; // the callback let it go
  if (effects.ended) {
    end(t, effects.failure);
    return false;
  }
  return sent || step(t, machine, Machine::input::transport_error, nullptr, nullptr);
}

template <class Machine>
void client_transactions::arm(transaction& t, const timer_orders<typename Machine::input>& orders) {
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
void client_transactions::fire(client_id id, timer_id transaction_timers::* slot, typename Machine::input i) {
  transaction* t = find(id);
  if (!t) return;
  t->timers.*slot = timer_id::none;
  step(*t, std::get<Machine>(t->machine), i, nullptr, nullptr);
}

void client_transactions::after_provisional(client_id id) {
  transaction* t = find(id);
  if (!t) return;
  auto& machine = std::get<invite_client>(t->machine);
  if (machine.current() != invite_client::state::proceeding) return;
  if (t->cancel == transaction::cancelling::held_back) return send_cancel(*t, machine);
  // Nobody will cancel it any more, and no timer of the RFC's runs in Proceeding.
  if (t->whose == owner::layer && t->timers.end == timer_id::none)
    step(*t, machine, invite_client::input::abandoned, nullptr, nullptr);
}

void client_transactions::abandon(client_id id) {
  transaction* t = find(id);
  if (!t) return;
  t->whose = owner::layer;
  auto* invite = std::get_if<invite_client>(&t->machine);
  if (invite && t->timers.end == timer_id::none) step(*t, *invite, invite_client::input::abandoned, nullptr, nullptr);
}

bool client_transactions::cancel(client_id id, std::string_view reason) {
  transaction* t = find(id);
  auto* machine = t ? std::get_if<invite_client>(&t->machine) : nullptr;
  if (!machine) return false;
  switch (machine->current()) {
  case invite_client::state::calling: // RFC 3261 §9.1: not before a 1xx
    if (t->cancel == transaction::cancelling::no) t->cancel_reason = reason;
    t->cancel = transaction::cancelling::held_back;
    return true;
  case invite_client::state::proceeding:
    if (t->cancel == transaction::cancelling::sent) return true;
    if (t->cancel == transaction::cancelling::no) t->cancel_reason = reason;
    send_cancel(*t, *machine);
    return true;
  case invite_client::state::completed:
  case invite_client::state::accepted:
  case invite_client::state::terminated:
    return false;
  }
  return false;
}

void client_transactions::send_cancel(transaction& t, invite_client& machine) {
  t.cancel = transaction::cancelling::sent;
  const message request = make_cancel(*t.invite, t.cancel_reason);
  step(t, machine, invite_client::input::cancelled, nullptr, nullptr);
  start(request, t.where, owner::layer);
}

void client_transactions::flow_gone(const flow& where) {
  if (!is_stream(where.transport)) return;
  const auto it = by_stream_.find(stream_key(where));
  if (it == by_stream_.end()) return;
  const std::unordered_set<client_id> waiting = std::move(it->second);
  by_stream_.erase(it);
  for (const client_id id : waiting)
    if (transaction* t = find(id))
      std::visit([&]<class Machine>(
                     Machine& machine) { step(*t, machine, Machine::input::transport_error, nullptr, nullptr); },
                 t->machine);
}

void client_transactions::end(transaction& t, std::optional<client_failure> failure) {
  const client_id id = t.id;
  const bool told = t.whose == owner::user;
  t.timers.stop(ctx_.timers);
  by_key_.erase(t.key.view());
  if (const auto it = by_stream_.find(stream_key(t.where)); is_stream(t.where.transport) && it != by_stream_.end()) {
    it->second.erase(id);
    if (it->second.empty()) by_stream_.erase(it);
  }
  by_id_.erase(id);
  if (failure) (*failure == client_failure::timed_out ? timeouts : flows_lost).add();
  if (failure && told) ctx_.user.on_failure(id, *failure);
  if (told) ctx_.user.on_client_ended(id);
}

} // namespace skald::sip
