#pragma once
// Somebody who speaks DTLS well and has no business here: any credentials, any peer is fine.
#include "bench.hpp"
#include "dht/mesh/session.hpp"

namespace skald::test {

class rogue final : public dht::session_host {
public:
  rogue(asio::io_context& io, certs::credentials_ptr credentials, const endpoint& target) : credentials_(std::move(credentials)), target_(target) {
    dht::udp_socket::handler on{[this](const endpoint&, std::string_view d) {
                                  std::vector<std::string> ignored;
                                  if (session_) session_->feed(d, ignored);
                                },
                                {}};
    socket_ = std::move(dht::udp_socket::open(io, at("127.0.0.66:0"), std::move(on)).value());
  }
  void shake_hands() {
    session_ = std::make_unique<dht::mesh_session>(dht::mesh_session::side::client, *this, credentials_, target_);
    session_->start();
  }
  void send_plain(std::string_view bytes) { socket_->send(target_, bytes); }
  bool send_record(std::string_view bytes) { return session_->send(bytes); }
  bool is_in() const { return session_ && session_->now() == dht::mesh_session::state::open; }
  bool is_out() const { return session_ && session_->now() == dht::mesh_session::state::failed; }
  endpoint where() const { return socket_->local(); }

  static certs::credentials_ptr no_certificate() {
    gnutls_certificate_credentials_t raw = nullptr;
    gnutls_certificate_allocate_credentials(&raw);
    return {raw, gnutls_certificate_free_credentials};
  }

private:
  void transmit(const endpoint& to, std::string_view datagram) override { socket_->send(to, datagram); }
  std::expected<certs::peer, certs::refusal> judge(gnutls_session_t) override { return certs::peer{}; }

  certs::credentials_ptr credentials_;
  endpoint target_;
  std::unique_ptr<dht::udp_socket> socket_;
  std::unique_ptr<dht::mesh_session> session_;
};

} // namespace skald::test
