#pragma once
// One DTLS 1.2 session with one endpoint (RFC 6347), mutual certificates, without I/O of its own: datagrams are fed in,
// and go out through the host. The handshake ends only after the host has judged the peer's certificate.
#include "base/endpoint.hpp"
#include "certs/credentials.hpp"
#include "dht/mesh/framing.hpp"
#include "dht/mesh/record_look.hpp"

#include <gnutls/dtls.h>
#include <gnutls/gnutls.h>
#include <memory>
#include <optional>
#include <string>

namespace skald::dht {

// Port: what a session needs of the mesh. On the mesh's thread; outlives its sessions.
class session_host {
public:
  virtual ~session_host() = default;
  virtual void transmit(const endpoint& to, std::string_view datagram) = 0;
  virtual std::expected<certs::peer, certs::refusal> judge(gnutls_session_t session) = 0;
};

inline constexpr unsigned dtls_mtu = 1400;                 // bytes of UDP payload
inline constexpr unsigned handshake_retransmit_ms = 250;   // doubles
inline constexpr unsigned handshake_time_max_ms = 6000;

class mesh_session {
public:
  enum class side : std::uint8_t { client, server };
  enum class state : std::uint8_t { handshaking, open, failed, ended };

  // `prestate`: of the verified cookie; servers only.
  mesh_session(side s, session_host& host, const certs::credentials_ptr& credentials, const endpoint& peer_at, gnutls_dtls_prestate_st* prestate = nullptr);
  ~mesh_session();
  mesh_session(const mesh_session&) = delete;
  mesh_session& operator=(const mesh_session&) = delete;

  void start() { drive(); } // a client's first flight
  // Decrypted records are appended to `records`.
  void feed(std::string_view datagram, std::vector<std::string>& records);
  void retransmit_if_due(); // call every few tens of milliseconds while handshaking
  bool send(std::string_view record); // at most record_bytes()
  void say_goodbye();       // close_notify

  state now() const { return state_; }
  side role() const { return side_; }
  const certs::peer& peer() const { return *peer_; }  // once open
  const std::string& peer_certificate() const { return certificate_; } // DER, once open
  std::optional<certs::refusal> refusal() const { return refusal_; }   // why we refused it
  const std::string& problem() const { return problem_; }              // text of another failure
  std::size_t record_bytes() const;
  const hello_random& client_random() const { return random_; }
  void set_client_random(const hello_random& r) { random_ = r; }

private:
  static ssize_t push(gnutls_transport_ptr_t self, const void* data, std::size_t size);
  static ssize_t pull(gnutls_transport_ptr_t self, void* data, std::size_t size);
  static int pull_timeout(gnutls_transport_ptr_t self, unsigned ms);
  static int verify(gnutls_session_t session);
  void drive();
  void finish_handshake();
  void fail(int gnutls_code);
  void read_records(std::vector<std::string>& records);

  side side_;
  session_host& host_;
  certs::credentials_ptr credentials_;
  endpoint peer_at_;
  gnutls_session_t session_ = nullptr;
  state state_ = state::handshaking;
  std::string_view inbox_;
  bool inbox_full_ = false, drained_ = false;
  std::optional<certs::peer> peer_;
  std::optional<certs::refusal> refusal_;
  std::string certificate_, problem_;
  hello_random random_{};
};

} // namespace skald::dht
