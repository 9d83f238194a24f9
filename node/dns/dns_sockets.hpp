#pragma once
// The sockets of the embedded DNS server: UDP and TCP on each address. The cluster loop's thread only.
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "dnsupdate/name_server.hpp"
#include "node/io/graveyard.hpp"
#include "node/io/loop.hpp"
#include "node/io/tcp_acceptor.hpp"
#include "node/io/udp_socket.hpp"

#include <memory>
#include <unordered_map>
#include <vector>

namespace skald::node {

inline constexpr std::size_t dns_connections_max = 256;      // at once; over it new ones are closed (counted)
inline constexpr duration dns_connection_idle = seconds(10); // RFC 7766 §6.2.3: of the order of seconds
inline constexpr std::size_t dns_connection_queries_max = 1000; // then it is closed; a client may come again

class dns_sockets final : udp_user {
public:
  // `server` outlives it.
  dns_sockets(loop& on, dnsupdate::name_server& server);
  ~dns_sockets();

  // All of them or a failure that names the port and who has it.
  outcome<void> bind(const std::vector<ip_address>& addresses, std::uint16_t port);
  void start();

private:
  class connection;
  void on_datagram(udp_socket& on, const endpoint& from, std::string_view bytes) override;
  void on_connection(owned_fd fd);
  void ended(connection& c);

  loop& loop_;
  dnsupdate::name_server& server_;
  std::vector<std::unique_ptr<udp_socket>> udp_;
  std::vector<std::unique_ptr<tcp_acceptor>> tcp_;
  std::unordered_map<connection*, std::unique_ptr<connection>> connections_;
  graveyard<connection> ended_;
};

} // namespace skald::node
