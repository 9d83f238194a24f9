#include "node/io/tcp_acceptor.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "node/io/port_holder.hpp"

#include <cerrno>
#include <cstring>
#include <string>

namespace skald::node {
namespace {

metrics::counter accept_failed("skald_accept_failed_total", "Connections not accepted, for want of descriptors or memory.");
constexpr duration pause_time = milliseconds(200);

} // namespace

outcome<std::unique_ptr<tcp_acceptor>> tcp_acceptor::open(loop& on, const endpoint& local, bool shared, accepted what) {
  owned_fd fd(::socket(family_of(local), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return std::unexpected(bind_failure("tcp", local, errno));
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (shared) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  if (!local.ip.is_v4()) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  sockaddr_storage a;
  const socklen_t n = to_sockaddr(local, a);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0 || ::listen(fd.get(), accept_backlog) != 0)
    return std::unexpected(bind_failure("tcp", local, errno));
  return std::unique_ptr<tcp_acceptor>(new tcp_acceptor(on, std::move(fd), std::move(what)));
}

tcp_acceptor::tcp_acceptor(loop& on, owned_fd fd, accepted what)
    : loop_(on), fd_(std::move(fd)), local_(local_endpoint(fd_.get())), watch_(on, fd_.get()), what_(std::move(what)) {}

tcp_acceptor::~tcp_acceptor() { loop_.timers().cancel(pause_); }

void tcp_acceptor::start() {
  watch_.when_readable([this] { accept_ready(); });
}

void tcp_acceptor::accept_ready() {
  for (int i = 0; i < accepts_per_turn; ++i) {
    owned_fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      what_(std::move(fd));
      continue;
    }
    if (errno == EAGAIN) break;
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      // The connection stays in the backlog and would wake us at once: better a pause.
      accept_failed.add();
      log::warning("tcp", std::string("cannot accept on ") + local_.text() + ": " + std::strerror(errno));
      pause_ = loop_.timers().at(loop_.now() + pause_time, [this] { start(); });
      return;
    }
  }
  start();
}

} // namespace skald::node
