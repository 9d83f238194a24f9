#include "node/streams/link_server.hpp"

#include "base/metrics.hpp"

namespace skald::node {
namespace {

metrics::counter too_many("skald_link_handshakes_refused_total", "Link connections closed: too many handshakes at once.");

} // namespace

// One connection between accept and judgement.
class link_server::handshake final : public tcp_stream_user {
public:
  handshake(link_server& server, owned_fd fd, tls_credentials_ptr credentials)
      : server_(server),
        stream_(server.loop_, {std::move(fd), std::make_unique<tls_engine>(std::move(credentials), options())}, *this,
                link_keep_alive) {}
  void start() { stream_.start(); }

  void on_stream_open() override {
    const auto peer = server_.verify_ ? server_.verify_(stream_.tls()->peer_chain()) : std::unexpected(link_refusal::other);
    if (!peer) {
      note_refused_link(peer.error(), stream_.remote(), "");
      stream_.close();
      return server_.finished(*this);
    }
    const std::string alpn = stream_.tls()->alpn();
    accepted_link link{stream_.release(), peer->id};
    server_.finished(*this);
    server_.what_(alpn, std::move(link));
  }
  void on_stream_bytes(std::string_view) override {} // never: open hands over or closes
  void on_stream_closed(std::string_view why) override {
    const bool naked = stream_.tls()->peer_without_certificate();
    note_refused_link(naked ? link_refusal::no_certificate : link_refusal::handshake, stream_.remote(), why);
    server_.finished(*this);
  }

private:
  static tls_options options() {
    return {.end = tls_end::server, .use = tls_use::link, .alpn = {std::string(alpn_store), std::string(alpn_sip)}};
  }
  link_server& server_;
  tcp_stream stream_;
};

link_server::link_server(loop& on, const tls_slot& credentials, const peer_verifier& verify, accepted what)
    : loop_(on), credentials_(credentials), verify_(verify), what_(std::move(what)), ended_(on) {}
link_server::~link_server() = default;

outcome<endpoint> link_server::listen(const endpoint& local) {
  auto acceptor = tcp_acceptor::open(loop_, local, false, [this](owned_fd fd) { on_connection(std::move(fd)); });
  if (!acceptor) return std::unexpected(acceptor.error());
  acceptors_.push_back(std::move(*acceptor));
  return acceptors_.back()->local();
}

void link_server::start() {
  for (auto& a : acceptors_) a->start();
}

void link_server::on_connection(owned_fd fd) {
  auto credentials = credentials_.get();
  if (!credentials) return;
  if (running_.size() >= link_handshakes_max) return too_many.add();
  auto h = std::make_unique<handshake>(*this, std::move(fd), std::move(credentials));
  handshake& started = *h;
  running_.emplace(&started, std::move(h));
  started.start();
}

void link_server::finished(handshake& h) {
  const auto it = running_.find(&h);
  if (it == running_.end()) return;
  ended_.bury(std::move(it->second));
  running_.erase(it);
}

} // namespace skald::node
