#pragma once
// The gossip channel of a simulated process: what dht/mesh does over DTLS. Sessions are between processes: what comes from
// a session of an earlier process is answered "not known", and a new handshake follows.
#include "base/scheduler.hpp"
#include "tests/sim/network.hpp"

#include <functional>
#include <unordered_map>
#include <string>
#include <vector>

namespace skald::sim {

class mesh {
public:
  struct callbacks {
    std::function<void(machine_id from, std::string_view bytes)> gossip;
    std::function<void(machine_id)> peer; // a session is up
    std::function<void(machine_id)> down; // it said goodbye
    std::function<bool(machine_id)> refused; // by the certificate that is there: nothing from it is heard
  };
  mesh(network& net, machine_id self, std::uint64_t process, scheduler& timers, const clock& time, callbacks on)
      : net_(net), self_(self), process_(process), timers_(timers), time_(time), on_(std::move(on)) {}

  void connect(machine_id to);
  void send(machine_id to, std::string_view bytes); // during a handshake it waits
  void drop(machine_id m); // no session with it any more
  void close();            // an orderly end: the peers are told
  void on_datagram(machine_id from, std::string_view bytes);
  std::vector<machine_id> peers() const;
  bool has_session(machine_id m) const;
  duration silent_for(machine_id m) const; // since it was first sent to after it was last heard; 0: nothing is awaited

private:
  struct session {
    std::uint64_t peer = 0; // its process; 0: a handshake is going on
    std::uint64_t attempt = 0;
    int tries = 0;
    mono_time asked = mono_time::max(); // first sent to since it was heard
    std::vector<std::string> waiting;
    bool up() const { return peer != 0; }
  };
  enum class kind : char { request, reply, data, unknown, goodbye };
  void put(machine_id to, kind k, std::uint64_t to_process, std::string_view payload);
  void shake(machine_id to);

  network& net_;
  machine_id self_;
  std::uint64_t process_;
  scheduler& timers_;
  const clock& time_;
  callbacks on_;
  std::unordered_map<machine_id, session> sessions_;
  std::uint64_t attempts_ = 0;
};

} // namespace skald::sim
