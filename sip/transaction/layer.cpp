#include "sip/transaction/layer.hpp"

#include "sip/transaction/client_transactions.hpp"
#include "sip/transaction/server_transactions.hpp"

namespace skald::sip {

struct transaction_layer::impl {
  explicit impl(layer_context c) : context(c), servers(context), clients(context) {}
  layer_context context;
  server_transactions servers;
  client_transactions clients;
};

transaction_layer::transaction_layer(const clock& clk, scheduler& timers, message_sender& sender,
                                     transaction_user& user, timer_values values)
    : impl_(std::make_unique<impl>(layer_context{clk, timers, sender, user, values})) {}

transaction_layer::~transaction_layer() = default;

void transaction_layer::receive(message m, const arrival& from) {
  if (m.is_request())
    impl_->servers.receive(std::move(m), from);
  else
    impl_->clients.receive(std::move(m), from);
}

bool transaction_layer::knows(const message& request) const {
  return impl_->servers.knows(request);
}
void transaction_layer::flow_gone(const flow& where) {
  impl_->clients.flow_gone(where);
}
void transaction_layer::respond(server_id id, const message& response) {
  impl_->servers.respond(id, response);
}
client_id transaction_layer::send_request(const message& request, const flow& where) {
  return impl_->clients.send(request, where);
}
void transaction_layer::abandon(client_id id) {
  impl_->clients.abandon(id);
}
bool transaction_layer::cancel(client_id id, std::string_view reason) {
  return impl_->clients.cancel(id, reason);
}
void transaction_layer::send_stateless(const message& m, const flow& where) {
  impl_->context.sender.send(where, m.serialize());
}
std::size_t transaction_layer::size() const {
  return impl_->servers.size() + impl_->clients.size();
}

} // namespace skald::sip
