#pragma once
// The `skald/1` links of a simulated process: what node/streams/link_hub does over TLS, over the simulated streams. The framing is
// the production one.
#include "dht/link/channel.hpp"
#include "dht/link/framing.hpp"
#include "tests/sim/network.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace skald::sim {

class link_hub final : public dht::link_port {
public:
  using where = std::function<std::optional<machine_id>(const node_id&)>;
  // `id_of`: whom the certificate at a machine names. `time` is the process's own clock.
  link_hub(network& net, machine_id self, const clock& time, dht::link_user& user, where where_is,
           std::function<node_id(machine_id)> id_of);

  bool send(const node_id& to, dht::frame f) override;

  // From the network; false: the stream is not one of these.
  bool on_stream_open(stream_id s, machine_id peer, bool outbound);
  bool on_stream_bytes(stream_id s, std::string_view bytes);
  bool on_stream_closed(stream_id s);

  std::size_t queued() const;
  bool failing(const node_id& peer) const; // no link, and calls to it have failed for link_failing_after
  void call_again(const node_id& peer);    // if the last call failed, and its pause is over
  void disconnect(const node_id& peer);    // it is no member any more

private:
  struct session {
    stream_id stream = 0;
    node_id peer;
    bool outbound = false, open = false, up = false;
    dht::frame_decoder decoder;
  };
  struct peer_state {
    std::vector<std::unique_ptr<session>> sessions;
    session* current = nullptr;
    session* calling = nullptr;
    std::string waiting;
    duration pause{0};
    mono_time retry_at{};
    mono_time failing_since{}; // the first call since a link was up
  };
  bool call(const node_id& to, peer_state& p);
  void take(session& s, dht::frame f);
  void session_up(session& s);
  session* find(stream_id s);

  network& net_;
  machine_id self_;
  const clock& time_;
  dht::link_user& user_;
  where where_is_;
  std::function<node_id(machine_id)> id_of_;
  std::unordered_map<node_id, peer_state> peers_;
  std::unordered_map<stream_id, session*> streams_;
};

} // namespace skald::sim
