#pragma once
// The mesh's little of asio, kept out of everybody's includes: a UDP socket, a periodic timer, and a way into the loop.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <functional>
#include <memory>
#include <string_view>

namespace asio {
class io_context;
}

namespace skald::dht {

// Non-blocking, one thread: that of the io_context. Nothing is called after the destructor has begun.
class udp_socket {
public:
  struct handler {
    std::function<void(const endpoint& from, std::string_view datagram)> on_datagram; // the bytes live during the call
    std::function<void(const endpoint& to)> on_unreachable; // ICMP said so; may be forged: a hint
  };
  static outcome<std::unique_ptr<udp_socket>> open(asio::io_context& io, const endpoint& local, handler h);
  ~udp_socket();

  endpoint local() const; // with the port that the kernel chose for 0
  bool send(const endpoint& to, std::string_view datagram); // false: lost, as datagrams are

private:
  struct state;
  explicit udp_socket(std::shared_ptr<state> s) : state_(std::move(s)) {}
  std::shared_ptr<state> state_;
};

// Calls `tick` every `period` on the loop's thread until destroyed.
class ticker {
public:
  ticker(asio::io_context& io, milliseconds period, std::function<void()> tick);
  ~ticker();

private:
  struct state;
  std::shared_ptr<state> state_;
};

// From any thread.
void post_to(asio::io_context& io, std::move_only_function<void()> what);

} // namespace skald::dht
