#pragma once
// The node's link port (design §10: 4260/tcp): accepts, shakes hands, judges the peer, and says which protocol it is for.
// The cluster loop's thread only.
#include "node/io/graveyard.hpp"
#include "node/io/loop.hpp"
#include "node/io/tcp_acceptor.hpp"
#include "node/io/tls_credentials.hpp"
#include "node/streams/link_peer.hpp"

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace skald::node {

inline constexpr std::size_t link_handshakes_max = 512; // at once; over it new connections are closed (counted)

class link_server {
public:
  // `alpn` is "sip/2" or "skald/1".
  using accepted = std::move_only_function<void(std::string_view alpn, accepted_link link)>;

  // What is referred to outlives the server.
  link_server(loop& on, const tls_slot& credentials, const peer_verifier& verify, accepted what);
  ~link_server();

  // Returns the endpoint with the real port.
  outcome<endpoint> listen(const endpoint& local);
  void start();

private:
  class handshake;
  void on_connection(owned_fd fd);
  void finished(handshake& h);

  loop& loop_;
  const tls_slot& credentials_;
  const peer_verifier& verify_;
  accepted what_;
  std::vector<std::unique_ptr<tcp_acceptor>> acceptors_;
  std::unordered_map<const handshake*, std::unique_ptr<handshake>> running_;
  graveyard<handshake> ended_;
};

} // namespace skald::node
