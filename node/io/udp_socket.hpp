#pragma once
// One UDP socket of one worker: received in batches (recvmmsg), sent in batches (sendmmsg) at the end of the turn.
// The worker's thread only.
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "node/io/loop.hpp"
#include "node/io/socket_address.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

inline constexpr std::size_t udp_batch = 32;
inline constexpr duration udp_read_time = milliseconds(2); // reading goes on for that long before others have their turn
inline constexpr std::size_t udp_send_queue_max = 8192; // datagrams waiting while the socket's buffer is full
inline constexpr int udp_buffer_bytes = 8 << 20;

class udp_socket;

// Port: whoever reads. The bytes live for the call.
class udp_user {
public:
  // Before the datagrams of a batch: how long the first had waited in the kernel's buffer.
  virtual void on_waited(duration d) { static_cast<void>(d); }
  virtual void on_datagram(udp_socket& on, const endpoint& from, std::string_view bytes) = 0;

protected:
  ~udp_user() = default;
};

class udp_socket final : turn_hook {
public:
  // Binds with SO_REUSEPORT, so that each worker has one. The failure names the address and port.
  static outcome<std::unique_ptr<udp_socket>> open(loop& on, const endpoint& local, udp_user& user);
  ~udp_socket();

  const endpoint& local() const { return local_; }
  // Leaves at the end of the turn. False: the queue is full (counted).
  bool send(const endpoint& to, std::string_view bytes);
  // Reading begins here, not in open(): nothing arrives before the worker is whole.
  void start();

private:
  struct outgoing {
    sockaddr_storage to;
    socklen_t to_size;
    std::string bytes;
  };
  udp_socket(loop& on, owned_fd fd, udp_user& user);
  void read_ready();
  std::size_t read_batch();
  void look_at(const msghdr& first);
  void on_turn_end() override;
  void flush();

  loop& loop_;
  udp_user& user_;
  owned_fd fd_;
  endpoint local_;
  fd_watch watch_;
  std::unique_ptr<char[]> buffers_; // udp_batch of message_bytes_max each, touched only as far as filled
  std::vector<outgoing> queue_;     // the first used_ are to be sent; the rest keep their memory
  std::size_t used_ = 0;
  std::uint32_t lost_before_ = 0;
  bool deferred_ = false;
  bool waiting_ = false;            // for the socket's buffer to drain
};

} // namespace skald::node
