#pragma once
// A listening TCP socket. The loop's thread only.
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "node/io/loop.hpp"
#include "node/io/socket_address.hpp"

#include <functional>
#include <memory>

namespace skald::node {

inline constexpr int accept_backlog = 1024;
inline constexpr int accepts_per_turn = 64;

class tcp_acceptor {
public:
  using accepted = std::move_only_function<void(owned_fd)>; // non-blocking, close-on-exec

  // `shared`: SO_REUSEPORT, one listener per worker. The failure names the address and port, and who has it.
  static outcome<std::unique_ptr<tcp_acceptor>> open(loop& on, const endpoint& local, bool shared, accepted what);
  ~tcp_acceptor();

  const endpoint& local() const { return local_; }
  void start(); // accepts from now on

private:
  tcp_acceptor(loop& on, owned_fd fd, accepted what);
  void accept_ready();

  loop& loop_;
  owned_fd fd_;
  endpoint local_;
  fd_watch watch_;
  accepted what_;
  timer_id pause_ = timer_id::none;
};

} // namespace skald::node
