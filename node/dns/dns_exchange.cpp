#include "node/dns/dns_exchange.hpp"

#include "base/encoding.hpp"
#include "node/io/socket_address.hpp"
#include "node/io/tcp_stream.hpp"

#include <array>
#include <cerrno>

namespace skald::node {

class dns_exchange::one {
public:
  one(dns_exchange& owner, callback done, duration limit) : owner_(owner), done_(std::move(done)) {
    timer_ = owner.loop_.timers().at(owner.loop_.now() + limit, [this] { end(std::unexpected(errc::expired)); });
  }
  virtual ~one() { owner_.loop_.timers().cancel(timer_); }
  virtual void begin() = 0;

  void end(result<std::string> got) {
    if (!over_) owner_.finish(*this, std::move(got));
  }

  dns_exchange& owner_;
  callback done_;
  bool over_ = false;

private:
  timer_id timer_ = timer_id::none;
};

// A connected socket: the kernel drops what comes from elsewhere, and its port is a fresh one (RFC 5452).
class dns_exchange::udp_one final : public one {
public:
  udp_one(dns_exchange& owner, const endpoint& server, std::string wire, callback done)
      : one(owner, std::move(done), dns_udp_time), wire_(std::move(wire)),
        fd_(::socket(family_of(server), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_storage a;
    const socklen_t n = to_sockaddr(server, a);
    if (fd_ && ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&a), n) != 0) fd_.reset();
    if (fd_) watch_.emplace(owner.loop_, fd_.get());
  }

  void begin() override {
    if (!fd_) return; // no route now: the timer ends it, so that tries stay apart
    if (::send(fd_.get(), wire_.data(), wire_.size(), MSG_NOSIGNAL) < 0) return;
    wait();
  }

private:
  void wait() {
    watch_->when_readable([this] { read(); });
  }

  void read() {
    std::array<char, 65'536> buffer;
    const auto n = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    // Refused (ICMP): as good as silence. An answer with another id is a forger's or a late one: go on listening.
    if (n >= 2 && std::equal(buffer.begin(), buffer.begin() + 2, wire_.begin())) return end(std::string(buffer.data(), static_cast<std::size_t>(n)));
    if (n >= 0 || errno == EAGAIN || errno == EINTR) wait();
  }

  std::string wire_;
  owned_fd fd_;
  std::optional<fd_watch> watch_;
};

class dns_exchange::tcp_one final : public one, tcp_stream_user {
public:
  tcp_one(dns_exchange& owner, const endpoint& server, const std::string& wire, callback done) : one(owner, std::move(done), dns_tcp_time) {
    put_be(out_, static_cast<std::uint16_t>(wire.size()));
    out_ += wire;
    const ip_address any{server.ip.family, {}};
    stream_ = tcp_stream::connect(owner.loop_, server, any, nullptr, *this);
  }
  void begin() override { stream_->start(); }

private:
  void on_stream_open() override { stream_->send(out_); }
  void on_stream_closed(std::string_view) override { end(std::unexpected(errc::expired)); }
  void on_stream_bytes(std::string_view plain) override {
    in_.append(plain);
    if (in_.size() < 2 || in_.size() < 2u + get_be<std::uint16_t>(in_)) return;
    end(in_.substr(2, get_be<std::uint16_t>(in_)));
  }

  std::string out_, in_;
  std::unique_ptr<tcp_stream> stream_;
};

dns_exchange::dns_exchange(loop& on) : loop_(on), ended_(on) {}
dns_exchange::~dns_exchange() = default;

void dns_exchange::exchange(const endpoint& server, std::string wire, bool tcp, callback done) {
  if (running_.size() >= dns_exchanges_max || wire.size() > 65'535) return done(std::unexpected(errc::too_large));
  std::unique_ptr<one> o;
  if (tcp) o = std::make_unique<tcp_one>(*this, server, wire, std::move(done));
  else o = std::make_unique<udp_one>(*this, server, std::move(wire), std::move(done));
  one* raw = o.get();
  running_.emplace(raw, std::move(o));
  raw->begin();
}

void dns_exchange::finish(one& o, result<std::string> got) {
  o.over_ = true;
  const auto found = running_.find(&o);
  auto done = std::move(o.done_);
  ended_.bury(std::move(found->second));
  running_.erase(found);
  done(std::move(got));
}

} // namespace skald::node
