#include "dht/mesh/loop.hpp"

#include "base/socket_address.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace skald::dht {
namespace {

constexpr int datagrams_per_wake = 64; // then the loop gets a turn
constexpr int receive_buffer = 1 << 20;

} // namespace

struct udp_socket::state : std::enable_shared_from_this<udp_socket::state> {
  asio::ip::udp::socket socket;
  handler on;
  bool closed = false;

  state(asio::io_context& io, handler h) : socket(io), on(std::move(h)) {}

  void wait() {
    socket.async_wait(asio::ip::udp::socket::wait_read, [self = shared_from_this()](const asio::error_code& error) {
      if (error || self->closed) return;
      self->drain();
      if (!self->closed) self->wait();
    });
  }

  void drain() {
    char buffer[65536];
    for (int i = 0; i < datagrams_per_wake && !closed; ++i) {
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      const auto n = ::recvfrom(socket.native_handle(), buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &size);
      if (n >= 0) {
        on.on_datagram(from_sockaddr(from), {buffer, static_cast<std::size_t>(n)});
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        drain_errors();
        return;
      } else if (errno != EINTR) {
        drain_errors(); // an ICMP error of some earlier datagram, reported here once
      }
    }
  }

  // With IP_RECVERR the kernel queues what ICMP said, with the address that the lost datagram was for.
  void drain_errors() {
    for (int i = 0; i < datagrams_per_wake && !closed; ++i) {
      sockaddr_storage to{};
      char control[512], byte;
      iovec data{&byte, 1};
      msghdr m{};
      m.msg_name = &to;
      m.msg_namelen = sizeof to;
      m.msg_iov = &data;
      m.msg_iovlen = 1;
      m.msg_control = control;
      m.msg_controllen = sizeof control;
      if (::recvmsg(socket.native_handle(), &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
      if (m.msg_namelen > 0 && on.on_unreachable) on.on_unreachable(from_sockaddr(to));
    }
  }
};

outcome<std::unique_ptr<udp_socket>> udp_socket::open(asio::io_context& io, const endpoint& local, handler h) {
  auto s = std::make_shared<state>(io, std::move(h));
  const bool v4 = local.ip.is_v4();
  const auto failed = [&](std::string_view doing) {
    return std::unexpected(failure{"overlay port " + local.text() + "/udp: cannot " + std::string(doing) + ": " + std::strerror(errno),
                                   errno == EADDRINUSE ? "another process has it; choose another with --overlay-port" : ""});
  };
  const int fd = ::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed("be opened");
  const int one = 1;
  if (v4) {
    ::setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one);
  } else {
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof one);
  }
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_storage address;
  const auto size = to_sockaddr(local, address);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
    auto error = failed("be bound");
    ::close(fd);
    return error;
  }
  asio::error_code error;
  static_cast<void>(s->socket.assign(v4 ? asio::ip::udp::v4() : asio::ip::udp::v6(), fd, error));
  if (error) {
    ::close(fd);
    return std::unexpected(failure{"overlay port " + local.text() + "/udp: " + error.message()});
  }
  s->wait();
  return std::unique_ptr<udp_socket>(new udp_socket(std::move(s)));
}

udp_socket::~udp_socket() {
  state_->closed = true;
  asio::error_code ignored;
  static_cast<void>(state_->socket.close(ignored));
}

endpoint udp_socket::local() const {
  sockaddr_storage a{};
  socklen_t size = sizeof a;
  ::getsockname(state_->socket.native_handle(), reinterpret_cast<sockaddr*>(&a), &size);
  return from_sockaddr(a);
}

bool udp_socket::send(const endpoint& to, std::string_view datagram) {
  sockaddr_storage address;
  const auto size = to_sockaddr(to, address);
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto n = ::sendto(state_->socket.native_handle(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                            reinterpret_cast<sockaddr*>(&address), size);
    if (n >= 0) return true;
    // The error may be an earlier datagram's, to someone else: the kernel hands it out on the next call, whichever.
    if (errno == EAGAIN || errno == EMSGSIZE) return false;
  }
  return false;
}

struct ticker::state : std::enable_shared_from_this<ticker::state> {
  asio::steady_timer timer;
  milliseconds period;
  std::function<void()> tick;
  bool stopped = false;

  state(asio::io_context& io, milliseconds p, std::function<void()> t) : timer(io), period(p), tick(std::move(t)) {}
  void arm() {
    timer.expires_after(period);
    timer.async_wait([self = shared_from_this()](const asio::error_code& error) {
      if (error || self->stopped) return;
      self->tick();
      if (!self->stopped) self->arm();
    });
  }
};

ticker::ticker(asio::io_context& io, milliseconds period, std::function<void()> tick)
    : state_(std::make_shared<state>(io, period, std::move(tick))) {
  state_->arm();
}

ticker::~ticker() {
  state_->stopped = true;
  state_->timer.cancel();
}

void post_to(asio::io_context& io, std::move_only_function<void()> what) {
  asio::post(io, [what = std::move(what)]() mutable { what(); });
}

} // namespace skald::dht
