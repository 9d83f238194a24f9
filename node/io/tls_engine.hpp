#pragma once
// TLS of one connection without I/O (GnuTLS): ciphertext in, plaintext out, and the reverse. One thread at a time; an
// engine may move to another thread between calls.
#include "certs/sip_peer.hpp"
#include "node/io/tls_credentials.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

enum class tls_end : std::uint8_t { client, server };
enum class tls_use : std::uint8_t {
  // Phones and foreign servers: TLS 1.2 or 1.3, the server's name verified by the client. The server asks for a
  // certificate, and takes none, or any: the caller judges peer_chain() after the handshake.
  sip,
  link, // between nodes: TLS 1.3, both show certificates, no tickets; the caller judges peer_chain() after the handshake
};

struct tls_options {
  tls_end end = tls_end::client;
  tls_use use = tls_use::sip;
  std::string name{};              // client: sent as SNI (not an address), and verified unless `link`
  std::vector<std::string> alpn{}; // client: offered; server: spoken. With `link` one has to be agreed on
  // Client, `sip`: who may sign for this server, and RFC 5922 §7 alone decides whom it names; null: the credentials'
  // CAs, and DNS names as HTTPS has them besides.
  certs::sip_anchors_ptr peers{};
};

enum class tls_state : std::uint8_t {
  handshaking,
  open,
  closed, // close_notify came
  failed, // failure() says why
};

class tls_engine {
public:
  // `credentials` is held until the end.
  tls_engine(tls_credentials_ptr credentials, tls_options options);
  ~tls_engine();
  tls_engine(const tls_engine&) = delete;
  tls_engine& operator=(const tls_engine&) = delete;

  // Begins the handshake (a client's first flight is in output() afterwards).
  tls_state start();
  // Takes what came from the peer whole, goes on with the handshake, appends what was decrypted to `plain`.
  tls_state feed(std::string_view cipher, std::string& plain);
  // Encrypts. False unless open.
  bool write(std::string_view plain);
  // Says goodbye; nothing is written after it.
  void close();
  // What is to be sent to the peer; the caller sends and clears it.
  std::string& output();

  tls_state state() const;
  std::string_view failure() const; // a short sentence, for the log
  // Servers: the peer had no certificate to show (links only).
  bool peer_without_certificate() const;

  // Once open:
  std::string server_name() const; // server: SNI, lower case, "" if none
  std::string alpn() const;        // "" if none
  std::vector<std::string> peer_chain() const; // DER, leaf first

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace skald::node
