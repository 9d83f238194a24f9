#pragma once
// The transaction layer of one worker (RFC 3261 §17, RFC 6026): matches what arrives, runs the four machines, and tells
// the transaction user. No I/O: bytes leave by `message_sender`, time comes from the scheduler's owner. One thread.
#include "base/clock.hpp"
#include "base/scheduler.hpp"
#include "sip/flow.hpp"
#include "sip/message/message.hpp"
#include "sip/transaction/timers.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace skald::sip {

enum class server_id : std::uint64_t { none = 0 };
enum class client_id : std::uint64_t { none = 0 };

// Port: puts bytes on a flow. Called on the worker's thread; must not call back into the layer.
class message_sender {
public:
  virtual ~message_sender() = default;
  // False: the flow is gone. A stream's bytes are taken whole and queued within limits. A flow of another worker is
  // served through that worker's queue (true means only: handed over).
  virtual bool send(const flow& where, std::string_view bytes) = 0;
};

// Port: the proxy and registrar core. Called on the worker's thread; may call any method of the layer.
class transaction_user {
public:
  virtual ~transaction_user() = default;
  // A request that matched nothing. Never ACK or CANCEL.
  virtual void on_request(server_id id, message request, const arrival& from) = 0;
  // CANCEL: `invite` is the INVITE server transaction that it matches (§9.2), or none. Answer `cancel` by respond().
  virtual void on_cancel(server_id cancel, server_id invite, message request, const arrival& from) = 0;
  // An ACK that belongs to no server transaction (that for a 2xx): to be forwarded without state, never answered.
  virtual void on_ack(message request, const arrival& from) = 0;
  // A response: 1xx, the final one, and with INVITE each further 2xx (RFC 6026 §7.2).
  virtual void on_response(client_id id, message response, const arrival& from) = 0;
  virtual void on_failure(client_id id, client_failure why) = 0;
  // A response that matches nothing of this worker (a late 2xx, or another worker's: its branch tells).
  virtual void on_stray_response(message response, const arrival& from) = 0;
  // The machine ended (after its lingering state); the id is dead. For a server transaction that ended without the
  // ACK its non-2xx final needed, `acknowledged` is false.
  virtual void on_server_ended(server_id id, bool acknowledged) = 0;
  virtual void on_client_ended(client_id id) = 0;
};

// Named limits (RFC-less): over them new requests are answered 503 by the layer's owner.
inline constexpr std::size_t transactions_max = 400'000;
// Over so many server transactions answers to REGISTER over UDP are no longer kept for repetitions (timer J).
inline constexpr std::size_t register_answers_max = 50'000;

class transaction_layer {
public:
  transaction_layer(const clock& clk, scheduler& timers, message_sender& sender, transaction_user& user,
                    timer_values values = {});
  ~transaction_layer();

  // A message from the wire, already validated (its topmost Via, CSeq, Call-ID, From, To parse). On links there are no
  // retransmissions and no timers but the time-out (sip.md §6).
  void receive(message m, const arrival& from);
  // True if receive() would match a transaction of this worker (cross-worker look-up, sip.md §5).
  bool knows(const message& request) const;
  void flow_gone(const flow& where);

  // Sends a response in this server transaction. The layer copies nothing else: the caller builds the response whole
  // (sip/message/reply.hpp). A second final after a 2xx INVITE is passed on only if it is a 2xx (RFC 6026 §7.1).
  void respond(server_id id, const message& response);
  // The request must carry our Via on top with a unique branch. ACK is not sent by this: use send_stateless().
  client_id send_request(const message& request, const flow& where);
  // Forgets a client transaction's user: no more calls for it (it lingers by itself).
  void abandon(client_id id);
  // CANCEL of an INVITE client transaction as §9.1 builds it; false if there is none or it has a final response. It is
  // held back until a 1xx came, and then sent. `reason` is a Reason header's value, or empty.
  bool cancel(client_id id, std::string_view reason);
  void send_stateless(const message& m, const flow& where);

  std::size_t size() const;

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace skald::sip
