#pragma once
// The TCP and TLS connections and the `sip/2` links of one worker: accepted, opened, found again, closed. The worker's
// thread only.
#include "certs/sip_peer.hpp"
#include "node/io/loop.hpp"
#include "node/io/tls_credentials.hpp"
#include "node/streams/flow_registry.hpp"
#include "node/streams/link_peer.hpp"
#include "sip/flow.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

// Accepted ones; over a limit new ones are closed at once. A source is an IPv4 address, or the /64 of an IPv6 one.
inline constexpr std::size_t streams_per_worker_max = 60'000;
inline constexpr std::size_t streams_per_source_max = 15'000;       // of one worker: a quarter, for all phones of a large site
inline constexpr std::size_t silent_streams_per_source_max = 1'000; // of these: that have not sent a SIP message yet
inline constexpr duration stream_idle_time = std::chrono::hours(2); // over the longest grant (1 h)
inline constexpr duration stream_first_message_time = seconds(60);  // for a peer that connects and says nothing

struct stream_limits {
  std::size_t all = streams_per_worker_max, source = streams_per_source_max, silent = silent_streams_per_source_max;
};

// What the pools of a node need from outside; set before start, then only the slots change.
struct stream_setup {
  tls_slot phones;      // shown to whoever connects to the SIPS port
  tls_slot outbound;    // trust for what we connect to over TLS, and our identity there
  tls_slot links;       // the node's own certificate
  certs::sip_anchors_ptr peers; // whose word counts for peers that the settings name by TLS name; null: nobody's
  peer_verifier verify_peer;
  link_lookup where_is;
  stream_limits limits{};
  std::function<bool()> memory_full; // no new ones then; null: never
};

// Port: the worker.
class stream_pool_user {
public:
  // One framed SIP message.
  virtual void on_stream_message(std::string bytes, const sip::arrival& from) = 0;
  virtual void on_stream_gone(const sip::flow& f) = 0;

protected:
  ~stream_pool_user() = default;
};

class stream_pool {
public:
  using opened = std::move_only_function<void(std::optional<sip::flow>)>;

  stream_pool(loop& on, std::uint16_t worker, const stream_setup& setup, flow_registry& live, stream_pool_user& user);
  ~stream_pool();

  // Binds with SO_REUSEPORT; `t` is tcp or tls. Accepting begins with start(). Returns the endpoint with the real port.
  outcome<endpoint> listen(const endpoint& local, sip::transport t);
  void start();
  // Each address of ours, to call from; one of the peer's family is used.
  void set_sources(std::vector<ip_address> addresses);

  bool send(const sip::flow& where, std::string_view bytes);
  bool has(const sip::flow& f) const;
  // The open connection's arrival data: peer and SNI; nullptr: gone. Valid until the next event.
  const sip::arrival* find(const sip::flow& f) const;
  // An open (or opening) connection to that very target, else a new one.
  void open(const sip::target& to, opened done);
  void open_link(const node_id& to, opened done);
  void adopt(accepted_link link);
  void recheck_links(); // after a revocation: links whose peer no longer passes end, and are reported
  void drop_links(const node_id& peer); // it is dead: links with it, open or not yet, end, and are reported
  void close_all();     // reports nothing, calls no one back
  std::size_t size() const;

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace skald::node
