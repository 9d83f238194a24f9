#pragma once
// The links of this node: the listener for both protocols, and the `skald/1` sessions behind dht::link_port. The cluster
// loop's thread only.
//
// Frames to one node keep to one session while that lives, so they arrive in order or not at all. Whenever a session
// that was up ends, or a call fails for which frames were waiting, the user is told on_link_down() (frames of either
// direction may be lost) and, if another session is there, on_link_up() again.
#include "dht/link/channel.hpp"
#include "dht/link/messages.hpp"
#include "node/io/graveyard.hpp"
#include "node/streams/link_server.hpp"
#include "node/streams/link_session.hpp"
#include "node/streams/stream_pool.hpp"

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace skald::node {

inline constexpr std::size_t link_queue_bytes_max = 8 << 20; // per peer, waiting for the link or its reader
inline constexpr std::size_t link_sessions_per_peer_max = 4; // inbound; the oldest gives way
inline constexpr duration link_failing_after = seconds(2);
inline constexpr duration link_retry_first = milliseconds(100), link_retry_last = seconds(2);

struct link_hub_config {
  node_id self;
  std::vector<ip_address> addresses; // to listen on; the first of a peer's family is the one to call from
  std::uint16_t port = 4260;
};

class link_hub final : public dht::link_port, link_session_user {
public:
  // `hello` is asked for each new session. `to_worker` takes the `sip/2` links that were accepted.
  link_hub(loop& on, link_hub_config config, const stream_setup& setup, std::function<dht::hello()> hello,
           std::move_only_function<void(accepted_link)> to_worker);
  ~link_hub();

  // The failure names the port, and who has it. Port 0: the first address's choice holds for all.
  outcome<void> bind();
  std::uint16_t port() const { return config_.port; }
  void set_user(dht::link_user& user) { user_ = &user; }
  void start();
  void stop(); // says goodbye to all; reports nothing more

  bool send(const node_id& to, dht::frame f) override;
  bool up(const node_id& peer) const;
  bool failing(const node_id& peer) const;     // no link, and calls to it have failed for link_failing_after
  void call_again(const node_id& peer);        // if the last call failed, and its pause is over
  std::vector<node_id> peers() const;          // those that are up
  void disconnect(const node_id& peer);        // it left or died: its sessions end, what waits is dropped
  void recheck();                              // after a revocation: who no longer passes is cut off

private:
  struct peer_state {
    std::vector<std::unique_ptr<link_session>> sessions;
    link_session* current = nullptr; // the one that is sent on
    link_session* calling = nullptr; // outbound, not up yet
    std::string waiting;             // framed
    duration pause{0};               // of the next retry
    mono_time retry_at{};
    mono_time failing_since{};       // the first call since a link was up: it may hang as well as fail
  };
  std::unique_ptr<link_session> new_session(const node_id& peer);
  bool call(const node_id& to, peer_state& p);
  void accepted_store_link(accepted_link link);
  bool accepts_peer(link_session& s) override;
  void on_session_up(link_session& s) override;
  void on_session_frame(link_session& s, dht::frame f) override;
  void on_session_ended(link_session& s, std::string_view why) override;
  void choose(peer_state& p);
  void flush_waiting(peer_state& p);

  loop& loop_;
  link_hub_config config_;
  const stream_setup& setup_;
  std::function<dht::hello()> hello_;
  std::move_only_function<void(accepted_link)> to_worker_;
  dht::link_user* user_ = nullptr;
  link_server server_;
  std::unordered_map<node_id, peer_state> peers_;
  graveyard<link_session> ended_;
};

} // namespace skald::node
