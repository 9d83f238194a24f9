#include "node/io/tcp_stream.hpp"

#include "base/metrics.hpp"

#include <netinet/tcp.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace skald::node {
namespace {

constexpr std::size_t read_bytes = 65'536;
constexpr int read_rounds_max = 8;

metrics::counter stuck("skald_stream_queue_full_total", "Streams closed because their peer does not read.");

void set_options(int fd, const keep_alive& k) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); // the turn already gathers
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, k.idle_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, k.interval_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, k.count);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, k.user_timeout_ms);
}

} // namespace

tcp_stream::tcp_stream(loop& on, parts p, tcp_stream_user& user, keep_alive k)
    : loop_(on), parts_(std::move(p)), user_(user), local_(local_endpoint(parts_.fd.get())),
      remote_(remote_endpoint(parts_.fd.get())) {
  const bool shaking = parts_.tls && parts_.tls->state() == tls_state::handshaking;
  state_ = shaking ? state::handshaking : state::open;
  decrypted_ = std::move(parts_.leftover);
  out_ = std::move(parts_.unsent);
  set_options(parts_.fd.get(), k);
}

std::unique_ptr<tcp_stream> tcp_stream::connect(loop& on, const endpoint& to, const ip_address& from,
                                                std::unique_ptr<tls_engine> tls, tcp_stream_user& user, keep_alive k) {
  owned_fd fd(::socket(family_of(to), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  std::string error;
  if (!fd) error = std::strerror(errno);
  if (fd && !from.is_any() && from.family == to.ip.family) {
    set_option(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    sockaddr_storage a;
    const socklen_t n = to_sockaddr({from, 0}, a);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0) error = std::strerror(errno);
  }
  sockaddr_storage a;
  const socklen_t n = to_sockaddr(to, a);
  if (error.empty() && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0 && errno != EINPROGRESS)
    error = std::strerror(errno);
  auto out = std::make_unique<tcp_stream>(on, parts{std::move(fd), std::move(tls)}, user, k);
  out->state_ = state::connecting;
  out->outbound_ = true;
  out->remote_ = to;
  out->late_error_ = std::move(error);
  return out;
}

tcp_stream::~tcp_stream() {
  close();
  loop_.undefer(*this);
}

void tcp_stream::start() {
  if (!late_error_.empty()) return schedule_flush();
  watch_.emplace(loop_, parts_.fd.get());
  if (state_ == state::connecting || state_ == state::handshaking) {
    const duration limit = outbound_ ? stream_open_time : stream_handshake_time;
    timer_ = loop_.timers().at(loop_.now() + limit, [this] {
      timer_ = timer_id::none;
      fail("not open in time");
    });
  }
  if (state_ == state::connecting) return watch_->when_writable([this] { connected(); });
  if (state_ == state::handshaking) parts_.tls->start();
  if (!out_.empty()) write_out();
  if (state_ == state::open && parts_.tls) after_engine(parts_.tls->state()); // what came along with a hand-over
  arm_read();
}

void tcp_stream::stop_timer() {
  loop_.timers().cancel(timer_);
  timer_ = timer_id::none;
}

void tcp_stream::arm_read() {
  if (state_ != state::closed) watch_->when_readable([this] { read_ready(); });
}

void tcp_stream::connected() {
  if (state_ == state::closed) return;
  int error = 0;
  socklen_t n = sizeof error;
  ::getsockopt(parts_.fd.get(), SOL_SOCKET, SO_ERROR, &error, &n);
  if (error != 0) return fail(std::strerror(error));
  local_ = local_endpoint(parts_.fd.get());
  if (parts_.tls) {
    state_ = state::handshaking;
    after_engine(parts_.tls->start());
  } else {
    opened();
  }
  arm_read();
}

void tcp_stream::opened() {
  stop_timer();
  state_ = state::open;
  if (!plain_.empty()) schedule_flush();
  user_.on_stream_open();
}

void tcp_stream::read_ready() {
  static thread_local std::array<char, read_bytes> buffer;
  for (int round = 0; round < read_rounds_max && state_ != state::closed; ++round) {
    const ssize_t n = ::recv(parts_.fd.get(), buffer.data(), buffer.size(), 0);
    if (n == 0) return fail("closed by the peer");
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) break;
      return fail(std::strerror(errno));
    }
    if (!take({buffer.data(), static_cast<std::size_t>(n)})) return;
    if (static_cast<std::size_t>(n) < buffer.size()) break;
  }
  arm_read();
}

bool tcp_stream::take(std::string_view bytes) {
  if (!parts_.tls) {
    user_.on_stream_bytes(bytes);
    return state_ != state::closed;
  }
  const tls_state s = parts_.tls->feed(bytes, decrypted_);
  after_engine(s);
  return state_ != state::closed;
}

// What the engine has to say, in this order: answers to the peer, "open", the bytes that came, the end.
void tcp_stream::after_engine(tls_state s) {
  out_ += parts_.tls->output();
  parts_.tls->output().clear();
  write_out();
  if (state_ == state::handshaking && (s == tls_state::open || s == tls_state::closed)) opened();
  // The user may have given the connection away: what was decrypted then goes along (release()).
  if (state_ == state::open && !decrypted_.empty()) {
    std::string plain;
    plain.swap(decrypted_);
    user_.on_stream_bytes(plain);
    if (state_ == state::open && decrypted_.empty()) {
      plain.clear();
      decrypted_.swap(plain); // keeps the memory
    }
  }
  if (state_ == state::closed) return;
  if (s == tls_state::failed) fail(parts_.tls->failure());
  if (s == tls_state::closed) fail("closed by the peer");
}

bool tcp_stream::send(std::string_view plain) {
  if (state_ == state::closed || !late_error_.empty()) return false;
  if (queued() + plain.size() > stream_write_queue_max) {
    stuck.add();
    late_error_ = "the peer does not read";
    schedule_flush();
    return false;
  }
  plain_ += plain;
  if (state_ == state::open) schedule_flush();
  return true;
}

void tcp_stream::schedule_flush() {
  if (deferred_) return;
  deferred_ = true;
  loop_.defer(*this);
}

void tcp_stream::on_turn_end() {
  deferred_ = false;
  if (!late_error_.empty()) return fail(late_error_);
  flush();
  if (!late_error_.empty()) fail(late_error_);
}

void tcp_stream::flush() {
  if (state_ != state::open) return;
  if (!parts_.tls) {
    if (out_.empty()) {
      out_.swap(plain_);
    } else {
      out_ += plain_;
    }
  } else if (!plain_.empty()) {
    if (!parts_.tls->write(plain_)) late_error_ = parts_.tls->failure();
    out_ += parts_.tls->output();
    parts_.tls->output().clear();
  }
  plain_.clear();
  write_out();
}

// Never calls the user: errors are kept for the end of the turn.
void tcp_stream::write_out() {
  if (waiting_writable_) return;
  while (out_at_ < out_.size()) {
    const ssize_t n = ::send(parts_.fd.get(), out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL);
    if (n > 0) {
      out_at_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      waiting_writable_ = true;
      watch_->when_writable([this] {
        waiting_writable_ = false;
        write_out();
      });
      return;
    } else if (errno != EINTR) {
      if (late_error_.empty()) late_error_ = std::strerror(errno);
      schedule_flush();
      break;
    }
  }
  out_.clear();
  out_at_ = 0;
}

void tcp_stream::fail(std::string_view why) {
  if (state_ == state::closed) return;
  const std::string text(why); // may stand in what close() takes away
  state_ = state::closed;
  stop_timer();
  watch_.reset();
  user_.on_stream_closed(text);
}

void tcp_stream::close() {
  if (state_ == state::closed) return;
  if (state_ == state::open && watch_) {
    flush();
    if (parts_.tls) {
      parts_.tls->close();
      out_ += parts_.tls->output();
      parts_.tls->output().clear();
      write_out();
    }
  }
  state_ = state::closed;
  stop_timer();
  watch_.reset();
}

tcp_stream::parts tcp_stream::release() {
  SKALD_ASSERT(state_ == state::open && plain_.empty());
  write_out();
  stop_timer();
  watch_.reset();
  state_ = state::closed;
  parts_.leftover = std::move(decrypted_);
  parts_.unsent = out_.substr(out_at_);
  return std::move(parts_);
}

} // namespace skald::node
