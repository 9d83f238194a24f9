#pragma once
// One TCP connection, with or without TLS, as a stream of plain bytes. Sends are gathered and leave at the end of the
// turn. The loop's thread only.
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "base/scheduler.hpp"
#include "node/io/loop.hpp"
#include "node/io/socket_address.hpp"
#include "node/io/tls_engine.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace skald::node {

inline constexpr std::size_t stream_write_queue_max = 16 << 20;      // bytes; over it the stream is closed: its reader is stuck
inline constexpr duration stream_open_time = seconds(4);            // connect and handshake, outbound
inline constexpr duration stream_handshake_time = seconds(10);      // TLS handshake, inbound

// Port: whoever uses the stream. It must not destroy the stream inside a call; after on_stream_closed() it should, soon.
class tcp_stream_user {
public:
  // Connected, and the handshake is done. Not called for an inbound stream without TLS: that is open from the start.
  virtual void on_stream_open() = 0;
  virtual void on_stream_bytes(std::string_view plain) = 0;
  // Once; `why` is a short text for the log. Not after close().
  virtual void on_stream_closed(std::string_view why) = 0;

protected:
  ~tcp_stream_user() = default;
};

// How soon a dead peer is noticed.
struct keep_alive {
  int idle_s = 60, interval_s = 20, count = 3; // sip.md §4
  int user_timeout_ms = 40'000;                // unacknowledged bytes
};

class tcp_stream final : turn_hook {
public:
  // What an open stream is made of, for a hand-over to another loop.
  struct parts {
    owned_fd fd;
    std::unique_ptr<tls_engine> tls;
    std::string leftover{}; // decrypted, not yet read by anybody
    std::string unsent{};   // for the kernel
  };

  // An accepted connection; `tls` nullptr: none. A handshake begins at once unless the engine is open already.
  tcp_stream(loop& on, parts p, tcp_stream_user& user, keep_alive k = {});
  // Connects. `from`: the address of ours to use, its port ignored; the wildcard: the kernel chooses.
  static std::unique_ptr<tcp_stream> connect(loop& on, const endpoint& to, const ip_address& from,
                                             std::unique_ptr<tls_engine> tls, tcp_stream_user& user, keep_alive k = {});
  ~tcp_stream();

  // Begins to read, connect or shake hands; call once, after construction. May call the user back at once.
  void start();
  bool is_open() const { return state_ == state::open; }
  // Queued until open. False: closed, or the queue is over its limit (then it closes by itself, and reports).
  bool send(std::string_view plain);
  std::size_t queued() const { return plain_.size() + out_.size() - out_at_; } // bytes
  // What is queued leaves as far as the kernel takes it; nothing is reported.
  void close();
  // Gives the connection away, also inside on_stream_open(); the stream is dead afterwards. Nothing may be queued.
  parts release();

  const endpoint& local() const { return local_; }
  const endpoint& remote() const { return remote_; }
  tls_engine* tls() { return parts_.tls.get(); }

private:
  enum class state : std::uint8_t { connecting, handshaking, open, closed };
  void arm_read();
  void connected();
  void opened();
  void read_ready();
  bool take(std::string_view bytes); // false: the stream has ended meanwhile
  void after_engine(tls_state s);
  void on_turn_end() override;
  void flush();
  void write_out();
  void schedule_flush();
  void fail(std::string_view why);
  void stop_timer();

  loop& loop_;
  parts parts_;
  tcp_stream_user& user_;
  endpoint local_, remote_;
  std::optional<fd_watch> watch_;
  state state_;
  std::string plain_;  // not encrypted yet
  std::string out_;    // for the kernel, from out_at_ on
  std::size_t out_at_ = 0;
  std::string decrypted_;
  std::string late_error_; // found where no call-back may be made; reported at the end of the turn
  timer_id timer_ = timer_id::none;
  bool outbound_ = false;
  bool deferred_ = false;
  bool waiting_writable_ = false;
};

} // namespace skald::node
