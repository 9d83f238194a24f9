#pragma once
// The network between machines: datagrams that are lost, doubled, delayed and overtaken; streams that are reliable and
// ordered until they break. What a machine's power and a path's cut do to both is here; who talks, and what, is not.
//
// Streams behave as TCP does: a loss costs time, a cut is noticed only by who has something unacknowledged (10 s) or by
// keep-alive (25 s), a dead process's kernel says so at once, a machine without power says nothing.
#include "tests/sim/world.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::sim {

using machine_id = int;
using stream_id = std::uint64_t; // never 0

// What a stream was opened for; both ends know it (ALPN).
enum class stream_use : std::uint8_t { store_link, sip_link };

// A process, as the network sees it. Called when the process runs; what arrives during a pause waits.
class net_user {
public:
  virtual ~net_user() = default;
  virtual void on_datagram(machine_id from, std::string bytes) = 0;
  // Nobody listens there (ICMP).
  virtual void on_unreachable(machine_id there) = 0;
  virtual void on_stream_open(stream_id s, machine_id peer, stream_use use, bool outbound) = 0;
  virtual void on_stream_bytes(stream_id s, std::string_view bytes) = 0;
  // Also for a call that failed, which never was open.
  virtual void on_stream_closed(stream_id s) = 0;
};

// How well datagrams and segments travel; each draws anew.
struct quality {
  double loss = 0, duplication = 0;
  duration delay_min = std::chrono::microseconds(100), delay_max = milliseconds(1); // one way; a wide span reorders
  double reordering = 0;                 // chance of ten delays more
  std::uint64_t bytes_per_s = 0;         // 0: no limit
};

class network {
public:
  explicit network(world& w) : world_(w) {}

  // A process begins on the machine, or (nullptr) ends: its kernel resets its streams, unless the power is off.
  void plug(machine_id m, net_user* process);
  void set_power(machine_id m, bool on);
  // The process stands still until `set_paused(m, false)`; its kernel does not.
  void set_paused(machine_id m, bool paused);
  bool paused(machine_id m) const { return host(m).paused; }
  bool running(machine_id m) const { return host(m).user != nullptr; }

  void cut(machine_id from, machine_id to) { closed_.insert({from, to}); }
  void cut_datagrams(machine_id from, machine_id to) { closed_datagrams_.insert({from, to}); }
  void cut_streams(machine_id from, machine_id to) { closed_streams_.insert({from, to}); }
  void heal();
  bool open(machine_id from, machine_id to) const;
  bool any_cut() const { return !closed_.empty() || !closed_datagrams_.empty() || !closed_streams_.empty(); }
  void set_quality(const quality& q) { quality_ = q; }
  // Besides: of all that goes to or from one machine.
  void set_slow(machine_id m, duration extra, std::uint64_t bytes_per_s);

  void send(machine_id from, machine_id to, std::string bytes);
  stream_id dial(machine_id from, machine_id to, stream_use use);
  void write(stream_id s, machine_id by, std::string bytes); // of a closed one: nothing happens
  void close(stream_id s, machine_id by);
  // Bytes of that end that the other has not taken yet.
  std::size_t queued(stream_id s, machine_id by) const;

  std::size_t streams() const { return streams_.size(); }
  std::uint64_t datagrams() const { return datagrams_; }

private:
  struct waiting_datagram {
    machine_id from;
    std::string bytes;
  };
  struct machine {
    net_user* user = nullptr;
    std::uint64_t epoch = 0; // of the process
    bool power = true, paused = false;
    duration extra{0};
    std::uint64_t bytes_per_s = 0;
    std::vector<waiting_datagram> socket; // during a pause
    std::set<stream_id> streams;          // with an end here
  };
  struct segment {
    std::string bytes;
    mono_time ready;
  };
  struct half { // one end, and what it has sent
    machine_id at = 0;
    std::uint64_t epoch = 0;
    bool open = false;
    std::deque<segment> sent;
    std::size_t bytes = 0;
    bool moving = false;
    mono_time stalled{};
    duration backoff{0};
    mono_time line_free{}, last_ready{};
  };
  struct stream {
    stream_use use;
    half ends[2]; // [0] called
    mono_time dialled;
    mono_time cut_since{};
    bool established = false;
  };

  bool carries(machine_id from, machine_id to) const; // streams
  machine& host(machine_id m) const {
    while (hosts_.size() <= static_cast<std::size_t>(m)) hosts_.emplace_back();
    return hosts_[static_cast<std::size_t>(m)];
  }
  void forget(stream_id s);
  duration delay(machine_id from, machine_id to, std::size_t bytes);
  void arrive(machine_id from, machine_id to, std::uint64_t epoch, std::string bytes);
  void knock(stream_id s);
  void establish(stream_id s);
  void move(stream_id s, int side);
  void arm(stream_id s, int side, mono_time when);
  void end(stream_id s, int side, bool tell);
  void reset_after(stream_id s, int side);
  void watch(stream_id s);
  stream* find(stream_id s);
  int side_of(const stream& x, machine_id m) const { return x.ends[0].at == m ? 0 : 1; }

  world& world_;
  mutable std::deque<machine> hosts_; // by number; they stay where they are
  std::set<std::pair<machine_id, machine_id>> closed_, closed_datagrams_, closed_streams_;
  quality quality_;
  std::unordered_map<stream_id, std::unique_ptr<stream>> streams_;
  stream_id next_stream_ = 1;
  std::uint64_t datagrams_ = 0;
};

} // namespace skald::sim
