#pragma once
// The client half of the transaction layer: sends requests, finds a response's transaction, runs its machine, and makes
// the ACK of non-2xx responses and the CANCEL.
#include "sip/transaction/context.hpp"
#include "sip/transaction/invite_client.hpp"
#include "sip/transaction/non_invite_client.hpp"
#include "sip/transaction/transaction_key.hpp"

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <variant>

namespace skald::sip {

class client_transactions {
public:
  explicit client_transactions(const layer_context& context);
  ~client_transactions();

  void receive(message response, const arrival& from);
  client_id send(const message& request, const flow& where);
  void abandon(client_id id);
  bool cancel(client_id id, std::string_view reason);
  void flow_gone(const flow& where); // as many steps as transactions wait on that flow
  std::size_t size() const { return by_id_.size(); }

private:
  struct transaction;
  enum class owner : std::uint8_t { user, layer };

  client_id start(const message& request, const flow& where, owner whose);
  transaction* find(client_id id) const;
  // Returns false when the transaction has ended by it.
  template <class Machine>
  bool step(transaction& t, Machine& machine, typename Machine::input i, message* response, const arrival* from);
  template <class Machine>
  bool put_on_wire(transaction& t, const typename Machine::effects& effects, const message* response);
  template <class Machine> void arm(transaction& t, const timer_orders<typename Machine::input>& orders);
  template <class Machine> void fire(client_id id, timer_id transaction_timers::* slot, typename Machine::input i);
  void after_provisional(client_id id);
  void send_cancel(transaction& t, invite_client& machine);
  void end(transaction& t, std::optional<client_failure> failure);

  const layer_context& ctx_;
  std::uint64_t next_ = 1;
  std::unordered_map<client_id, std::unique_ptr<transaction>> by_id_;
  std::unordered_map<transaction_key, transaction*, transaction_key_hash> by_key_; // views into the transactions
  std::unordered_map<std::uint64_t, std::unordered_set<client_id>> by_stream_;
};

} // namespace skald::sip
