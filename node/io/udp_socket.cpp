#include "node/io/udp_socket.hpp"

#include "base/metrics.hpp"
#include "node/io/port_holder.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace skald::node {
namespace {

constexpr std::size_t slot_bytes = 65'536;

metrics::counter received("skald_udp_received_total", "Datagrams received.");
metrics::counter lost("skald_udp_kernel_lost_total", "Datagrams that the kernel threw away, since the socket's buffer was full.");
metrics::counter sent("skald_udp_sent_total", "Datagrams sent.");
metrics::counter queue_full("skald_udp_dropped_total", "Datagrams not sent.", R"(reason="queue_full")");
metrics::counter refused("skald_udp_dropped_total", "Datagrams not sent.", R"(reason="kernel_refused")");

// The kernel's stamp (SO_TIMESTAMPNS) against the same clock; a clock that was set in between says nothing.
duration waited_since(const cmsghdr& c) {
  timespec then{}, now{};
  std::memcpy(&then, CMSG_DATA(&c), sizeof then);
  ::clock_gettime(CLOCK_REALTIME, &now);
  const duration d = seconds(now.tv_sec - then.tv_sec) + duration((now.tv_nsec - then.tv_nsec) / 1000);
  return d > duration{0} && d < seconds(60) ? d : duration{0};
}

void set_options(int fd, bool v4) {
  set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  set_option(fd, SOL_SOCKET, SO_RCVBUF, udp_buffer_bytes);
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, udp_buffer_bytes); // past net.core.rmem_max, where we may
  set_option(fd, SOL_SOCKET, SO_SNDBUF, udp_buffer_bytes);
  set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, udp_buffer_bytes);
  // sip.md §7: without DF, so that a message over the path's size is fragmented and not lost.
  if (v4) {
    set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  } else {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
  }
}

} // namespace

outcome<std::unique_ptr<udp_socket>> udp_socket::open(loop& on, const endpoint& local, udp_user& user) {
  owned_fd fd(::socket(family_of(local), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return std::unexpected(bind_failure("udp", local, errno));
  set_options(fd.get(), local.ip.is_v4());
  sockaddr_storage a;
  const socklen_t n = to_sockaddr(local, a);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0)
    return std::unexpected(bind_failure("udp", local, errno));
  return std::unique_ptr<udp_socket>(new udp_socket(on, std::move(fd), user));
}

udp_socket::udp_socket(loop& on, owned_fd fd, udp_user& user)
    : loop_(on), user_(user), fd_(std::move(fd)), local_(local_endpoint(fd_.get())), watch_(on, fd_.get()),
      buffers_(new char[udp_batch * slot_bytes]) {}

udp_socket::~udp_socket() {
  if (used_ > 0 && !waiting_) flush();
  loop_.undefer(*this);
}

void udp_socket::start() {
  watch_.when_readable([this] { read_ready(); });
}

void udp_socket::read_ready() {
  const mono_time until = loop_.now() + udp_read_time;
  while (read_batch() == udp_batch && loop_.now() < until) {}
  start(); // re-arming reports data that is still there
}

std::size_t udp_socket::read_batch() {
  std::array<mmsghdr, udp_batch> headers{};
  std::array<iovec, udp_batch> parts;
  std::array<sockaddr_storage, udp_batch> from;
  for (std::size_t i = 0; i < udp_batch; ++i) {
    parts[i] = {buffers_.get() + i * slot_bytes, slot_bytes};
    headers[i].msg_hdr.msg_iov = &parts[i];
    headers[i].msg_hdr.msg_iovlen = 1;
    headers[i].msg_hdr.msg_name = &from[i];
    headers[i].msg_hdr.msg_namelen = sizeof from[i];
  }
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(timespec)) + CMSG_SPACE(sizeof(std::uint32_t))> of_first;
  headers[0].msg_hdr.msg_control = of_first.data();
  headers[0].msg_hdr.msg_controllen = of_first.size();
  const int n = ::recvmmsg(fd_.get(), headers.data(), udp_batch, MSG_DONTWAIT, nullptr);
  if (n <= 0) return 0; // EAGAIN, or an ICMP error that belongs to no flow of ours
  received.add(static_cast<std::uint64_t>(n));
  look_at(headers[0].msg_hdr);
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
    user_.on_datagram(*this, from_sockaddr(from[i]), {buffers_.get() + i * slot_bytes, headers[i].msg_len});
  return static_cast<std::size_t>(n);
}

// How long the first of a batch had waited, and how many the kernel has thrown away so far (SO_RXQ_OVFL: since the
// socket was made, told only once it is not 0).
void udp_socket::look_at(const msghdr& first) {
  duration waited{0};
  for (cmsghdr* c = CMSG_FIRSTHDR(&first); c != nullptr; c = CMSG_NXTHDR(const_cast<msghdr*>(&first), c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_TIMESTAMPNS) waited = waited_since(*c);
    if (c->cmsg_type != SO_RXQ_OVFL) continue;
    std::uint32_t all = 0;
    std::memcpy(&all, CMSG_DATA(c), sizeof all);
    lost.add(all - lost_before_); // it wraps, and so does this
    lost_before_ = all;
  }
  user_.on_waited(waited);
}

bool udp_socket::send(const endpoint& to, std::string_view bytes) {
  if (used_ >= udp_send_queue_max) {
    queue_full.add();
    return false;
  }
  if (used_ == queue_.size()) queue_.emplace_back();
  outgoing& o = queue_[used_++];
  o.to_size = to_sockaddr(to, o.to);
  o.bytes.assign(bytes);
  if (!deferred_ && !waiting_) {
    deferred_ = true;
    loop_.defer(*this);
  }
  return true;
}

void udp_socket::on_turn_end() {
  deferred_ = false;
  flush();
}

void udp_socket::flush() {
  std::array<mmsghdr, udp_batch> headers;
  std::array<iovec, udp_batch> parts;
  std::size_t done = 0;
  waiting_ = false;
  while (done < used_) {
    const std::size_t count = std::min(udp_batch, used_ - done);
    for (std::size_t i = 0; i < count; ++i) {
      outgoing& o = queue_[done + i];
      parts[i] = {o.bytes.data(), o.bytes.size()};
      headers[i] = {};
      headers[i].msg_hdr.msg_iov = &parts[i];
      headers[i].msg_hdr.msg_iovlen = 1;
      headers[i].msg_hdr.msg_name = &o.to;
      headers[i].msg_hdr.msg_namelen = o.to_size;
    }
    const int n = ::sendmmsg(fd_.get(), headers.data(), static_cast<unsigned>(count), MSG_DONTWAIT);
    if (n > 0) {
      sent.add(static_cast<std::uint64_t>(n));
      done += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN || errno == ENOBUFS) {
      waiting_ = true;
      break;
    } else if (errno != EINTR) {
      refused.add(); // no route, too large …: this one is lost as on any network; the next may go elsewhere
      ++done;
    }
  }
  // What is left moves to the front; the strings that were sent keep their memory for the next turn.
  const auto begin = queue_.begin();
  std::rotate(begin, begin + static_cast<std::ptrdiff_t>(done), begin + static_cast<std::ptrdiff_t>(used_));
  used_ -= done;
  if (waiting_) watch_.when_writable([this] { flush(); });
}

} // namespace skald::node
