#include "node/streams/link_session.hpp"

namespace skald::node {

link_session::link_session(loop& on, const node_id& peer, dht::hello mine, link_session_user& user)
    : loop_(on), peer_(peer), mine_(std::move(mine)), user_(user) {}

link_session::~link_session() { loop_.timers().cancel(hello_timer_); }

void link_session::accept(tcp_stream::parts parts) {
  tcp_stream_user& me = *this;
  stream_ = std::make_unique<tcp_stream>(loop_, std::move(parts), me, link_keep_alive);
  say_hello();
  stream_->start();
}

void link_session::dial(const endpoint& to, const ip_address& from, std::unique_ptr<tls_engine> tls) {
  outbound_ = true;
  stream_ = tcp_stream::connect(loop_, to, from, std::move(tls), *this, link_keep_alive);
  stream_->start();
}

void link_session::on_stream_open() {
  if (!user_.accepts_peer(*this)) return end(dht::goodbye::reason::closing, "not the node that was called");
  say_hello();
}

void link_session::say_hello() {
  std::string out;
  dht::append_frame(out, mine_.encode());
  stream_->send(out);
  hello_timer_ = loop_.timers().at(loop_.now() + link_hello_time, [this] {
    hello_timer_ = timer_id::none;
    end(dht::goodbye::reason::protocol_error, "no hello");
  });
}

bool link_session::send(std::string_view framed) { return up_ && !ended_ && stream_->send(framed); }

void link_session::on_stream_bytes(std::string_view plain) {
  if (ended_) return;
  decoder_.feed(plain);
  while (!ended_) {
    auto next = decoder_.next();
    if (!next) return end(dht::goodbye::reason::protocol_error, "not a frame");
    if (!next->has_value()) return;
    take(std::move(**next));
  }
}

void link_session::take(dht::frame f) {
  if (f.type == dht::frame_type::hello) return take_hello(f);
  if (f.type == dht::frame_type::goodbye) {
    const auto bye = dht::goodbye::decode(f);
    stream_->close();
    return ended(bye ? "goodbye: " + bye->text : std::string("goodbye"));
  }
  if (!up_) return end(dht::goodbye::reason::protocol_error, "a frame before hello");
  // Answered over the same link, by the link itself (ring-and-membership B3).
  if (f.type == dht::frame_type::link_ping) {
    if (const auto ping = dht::link_ping::decode(f)) {
      std::string out;
      dht::append_frame(out, dht::link_pong{ping->number}.encode());
      stream_->send(out);
    }
    return;
  }
  user_.on_session_frame(*this, std::move(f));
}

void link_session::take_hello(const dht::frame& f) {
  auto h = dht::hello::decode(f);
  if (!h || up_) return end(dht::goodbye::reason::protocol_error, "a wrong hello");
  if (!dht::spoken_version(mine_, *h)) return end(dht::goodbye::reason::version, "no common protocol version");
  theirs_ = std::move(*h);
  loop_.timers().cancel(hello_timer_);
  hello_timer_ = timer_id::none;
  up_ = true;
  user_.on_session_up(*this);
}

void link_session::end(dht::goodbye::reason why, std::string_view text) {
  if (ended_) return;
  std::string out;
  dht::append_frame(out, dht::goodbye{why, std::string(text)}.encode());
  stream_->send(out);
  const std::string copy(text);
  stream_->close();
  ended(copy);
}

void link_session::ended(std::string_view why) {
  if (ended_) return;
  ended_ = true;
  loop_.timers().cancel(hello_timer_);
  hello_timer_ = timer_id::none;
  user_.on_session_ended(*this, why);
}

} // namespace skald::node
