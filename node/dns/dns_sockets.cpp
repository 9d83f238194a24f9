#include "node/dns/dns_sockets.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "node/io/port_holder.hpp"
#include "node/io/tcp_stream.hpp"

namespace skald::node {
namespace {

metrics::counter too_many("skald_dns_server_connections_refused_total", "DNS connections closed: too many at once.");

} // namespace

// Messages with a length of two bytes before each (RFC 1035 §4.2.2), as many as the client likes.
class dns_sockets::connection final : tcp_stream_user {
public:
  connection(dns_sockets& owner, owned_fd fd) : owner_(owner), stream_(owner.loop_, {std::move(fd), nullptr}, *this) { wait(); }
  ~connection() { owner_.loop_.timers().cancel(idle_); }
  void start() { stream_.start(); }

private:
  void wait() {
    owner_.loop_.timers().cancel(idle_);
    idle_ = owner_.loop_.timers().at(owner_.loop_.now() + dns_connection_idle, [this] { end(); });
  }

  void end() {
    if (over_) return;
    over_ = true;
    stream_.close();
    owner_.ended(*this);
  }

  void on_stream_open() override {}
  void on_stream_closed(std::string_view) override {
    if (over_) return;
    over_ = true;
    owner_.ended(*this);
  }

  void on_stream_bytes(std::string_view plain) override {
    in_.append(plain);
    std::size_t at = 0;
    while (!over_ && in_.size() - at >= 2) {
      const std::size_t size = get_be<std::uint16_t>(std::string_view(in_).substr(at));
      if (in_.size() - at < 2 + size) break;
      answer(std::string_view(in_).substr(at + 2, size));
      at += 2 + size;
    }
    in_.erase(0, at);
  }

  void answer(std::string_view query) {
    const std::string reply = owner_.server_.answer(query, stream_.remote().ip, true, owner_.loop_.now());
    if (reply.empty() || ++answered_ > dns_connection_queries_max || stream_.queued() > (1u << 20)) return end();
    std::string framed;
    put_be(framed, static_cast<std::uint16_t>(reply.size()));
    stream_.send(framed + reply);
    wait();
  }

  dns_sockets& owner_;
  tcp_stream stream_;
  std::string in_; // at most one unfinished message of 64 KiB and what one read brings
  timer_id idle_ = timer_id::none;
  std::size_t answered_ = 0;
  bool over_ = false;
};

dns_sockets::dns_sockets(loop& on, dnsupdate::name_server& server) : loop_(on), server_(server), ended_(on) {}
dns_sockets::~dns_sockets() = default;

outcome<void> dns_sockets::bind(const std::vector<ip_address>& addresses, std::uint16_t port) {
  std::vector<std::unique_ptr<udp_socket>> udp;
  std::vector<std::unique_ptr<tcp_acceptor>> tcp;
  for (const ip_address& ip : addresses) {
    const endpoint local{ip, port};
    for (const std::string_view protocol : {"udp", "tcp"})
      if (auto is_free = probe_port(protocol, local); !is_free) return is_free;
    auto u = udp_socket::open(loop_, local, *this);
    if (!u) return std::unexpected(u.error());
    udp.push_back(std::move(*u));
    auto t = tcp_acceptor::open(loop_, local, false, [this](owned_fd fd) { on_connection(std::move(fd)); });
    if (!t) return std::unexpected(t.error());
    tcp.push_back(std::move(*t));
  }
  udp_ = std::move(udp);
  tcp_ = std::move(tcp);
  return {};
}

void dns_sockets::start() {
  for (auto& u : udp_) u->start();
  for (auto& t : tcp_) t->start();
}

void dns_sockets::on_datagram(udp_socket& on, const endpoint& from, std::string_view bytes) {
  const std::string reply = server_.answer(bytes, from.ip, false, loop_.now());
  if (!reply.empty()) on.send(from, reply);
}

void dns_sockets::on_connection(owned_fd fd) {
  if (connections_.size() >= dns_connections_max) {
    too_many.add();
    return;
  }
  auto c = std::make_unique<connection>(*this, std::move(fd));
  connection* raw = c.get();
  connections_.emplace(raw, std::move(c));
  raw->start();
}

void dns_sockets::ended(connection& c) {
  const auto found = connections_.find(&c);
  if (found == connections_.end()) return;
  ended_.bury(std::move(found->second));
  connections_.erase(found);
}

} // namespace skald::node
