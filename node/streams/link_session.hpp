#pragma once
// One `skald/1` connection: hello in both directions, then frames. The cluster loop's thread only.
#include "dht/link/channel.hpp"
#include "dht/link/framing.hpp"
#include "dht/link/messages.hpp"
#include "node/io/tcp_stream.hpp"
#include "node/streams/link_peer.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace skald::node {

class link_session;

// Port: the hub. A session must not be destroyed inside a call.
class link_session_user {
public:
  // TLS is done on an outbound session: whether the one at the other end is who was called.
  virtual bool accepts_peer(link_session& s) = 0;
  virtual void on_session_up(link_session& s) = 0; // hellos were exchanged
  virtual void on_session_frame(link_session& s, dht::frame f) = 0;
  virtual void on_session_ended(link_session& s, std::string_view why) = 0; // once, the last call

protected:
  ~link_session_user() = default;
};

inline constexpr duration link_hello_time = seconds(4);

class link_session final : tcp_stream_user {
public:
  link_session(loop& on, const node_id& peer, dht::hello mine, link_session_user& user);
  ~link_session();

  void accept(tcp_stream::parts parts);
  void dial(const endpoint& to, const ip_address& from, std::unique_ptr<tls_engine> tls);

  const node_id& peer() const { return peer_; }
  bool outbound() const { return outbound_; }
  bool up() const { return up_; }
  const dht::hello& theirs() const { return theirs_; }
  tls_engine* tls() { return stream_->tls(); }
  endpoint remote() const { return stream_->remote(); }
  std::size_t queued() const { return stream_->queued(); } // bytes
  bool send(std::string_view framed); // once up; false: gone
  void end(dht::goodbye::reason why, std::string_view text); // says goodbye, closes, reports

private:
  void on_stream_open() override;
  void on_stream_bytes(std::string_view plain) override;
  void on_stream_closed(std::string_view why) override { ended(why); }
  void say_hello();
  void take(dht::frame f);
  void take_hello(const dht::frame& f);
  void ended(std::string_view why);

  loop& loop_;
  node_id peer_;
  dht::hello mine_, theirs_;
  link_session_user& user_;
  std::unique_ptr<tcp_stream> stream_;
  dht::frame_decoder decoder_;
  timer_id hello_timer_ = timer_id::none;
  bool outbound_ = false, up_ = false, ended_ = false;
};

} // namespace skald::node
