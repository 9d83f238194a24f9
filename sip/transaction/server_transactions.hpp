#pragma once
// The server half of the transaction layer: finds a request's transaction, runs its machine, sends its responses.
#include "sip/transaction/context.hpp"
#include "sip/transaction/invite_server.hpp"
#include "sip/transaction/non_invite_server.hpp"
#include "sip/transaction/transaction_key.hpp"

#include <memory>
#include <unordered_map>
#include <variant>

namespace skald::sip {

class server_transactions {
public:
  explicit server_transactions(const layer_context& context);
  ~server_transactions();

  void receive(message request, const arrival& from);
  bool knows(const message& request) const;
  void respond(server_id id, const message& response);
  std::size_t size() const { return by_id_.size(); }

private:
  struct transaction;

  transaction* find(const message& request, std::string_view method) const;
  transaction& create(const message& request, const arrival& from);
  void receive_ack(message request, const arrival& from);
  bool answers_anew(std::string_view method, int status) const;
  std::string_view request_method(server_id id) const;
  void forget_soon(server_id id);
  void respond_invite(transaction& t, invite_server& machine, const message& response);
  void remember_legacy_ack(transaction& t, const message& response);
  template <class Machine>
  void step(transaction& t, Machine& machine, typename Machine::input i, const flow& where, std::string_view bytes);
  template <class Machine> void arm(transaction& t, const timer_orders<typename Machine::input>& orders);
  template <class Machine> void fire(server_id id, timer_id transaction_timers::* slot, typename Machine::input i);
  void end(transaction& t, acknowledgement ack);

  const layer_context& ctx_;
  std::uint64_t next_ = 1;
  std::unordered_map<server_id, std::unique_ptr<transaction>> by_id_;
  std::unordered_map<transaction_key, transaction*, transaction_key_hash> by_key_; // views into the transactions
};

} // namespace skald::sip
