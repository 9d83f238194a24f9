#pragma once
// The overlay's floor: one UDP port per node (one socket for IPv4, one for IPv6), DTLS 1.2 with mutual certificates under
// the cluster's CA between every two nodes that talk, and two channels in it: Kademlia (OpenDHT) and gossip (membership).
// A datagram from anyone without a valid certificate goes nowhere. Unreliable, unordered, like the datagrams beneath.
//
//   asio::io_context io;
//   dht::mesh_config config{.identity = bundle, .bind = {endpoint::parse("0.0.0.0:4260").value()}};
//   dht::mesh_callbacks on;
//   on.gossip = [&](const node_id& from, std::string_view bytes) { membership.on_datagram(from, bytes); };
//   auto mesh = dht::mesh::open(io, the_clock, std::move(config), std::move(on));
//   if (!mesh) return mesh.error();                  // a port that cannot be bound: what and why
//   (*mesh)->connect(seed);                          // on.peer follows, or nothing
//   (*mesh)->set_address(member_id, overlay_endpoint); // from a member's body: gossip then finds its way
//   (*mesh)->send_gossip(member_id, bytes);
//
// Threads: everything on the thread that runs `io`, but for send_kademlia (any thread). Callbacks run on that thread, may
// call the mesh again, but not destroy it. Destroy it before `io` and `time`.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "base/ids.hpp"
#include "certs/bundle.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace asio {
class io_context;
}

namespace skald::dht {

struct mesh_peer {
  node_id id;
  std::string name;               // by its certificate
  endpoint at;                    // where it was met; behind NAT not what it advertises
  std::vector<std::string> roles; // what its certificate permits
  std::string certificate;        // DER
};

struct mesh_config {
  certs::bundle_ptr identity;
  std::vector<endpoint> bind;            // one per family at most; port 0: the kernel's choice
  std::string crl{};                     // DER, or empty
  std::function<bool()> lose{};          // tests: true loses the datagram that is about to go out
  std::function<std::string()> twin_claim{}; // what is told to another holder of our own key; at most 256 bytes
};

struct mesh_callbacks {
  // The sender is authenticated. The bytes live during the call.
  std::function<void(const node_id& from, std::string_view bytes)> gossip;
  // A session is up (again): the first of this node, or one that replaces another.
  std::function<void(const mesh_peer&)> peer;
  // A session with a node is up at one address while another, with the same node, is up elsewhere: it has moved, or two
  // processes run with its bundle, which have to find each other (send_gossip_at tells each of the other's address).
  std::function<void(const node_id&, const endpoint& before, const endpoint& now)> doubled;
  // No session with it is left. Says nothing about its life: idle sessions end too.
  std::function<void(const node_id&)> peer_down;
  // A hint, which may be forged: ICMP says that nobody listens where the node was (ring-and-membership B4).
  std::function<void(const node_id&)> unreachable;
  // Somebody else holds our own key and answers at another address (consistency.md §7). `claim`: what it told of itself;
  // empty if it ended the session, or said nothing for a second.
  std::function<void(const endpoint&, std::string_view claim)> twin;
};

inline constexpr std::size_t mesh_sessions_max = 4096;          // endpoints with a session or handshake
inline constexpr std::size_t mesh_handshakes_max = 256;         // of those, still shaking hands
inline constexpr std::size_t mesh_handshakes_per_host_max = 64; // by IP address
inline constexpr std::size_t mesh_waiting_messages_max = 64;    // per endpoint, during a handshake
inline constexpr std::size_t mesh_waiting_bytes_max = 128 * 1024;
inline constexpr std::size_t mesh_posted_max = 4096;            // datagrams on their way from OpenDHT's thread
inline constexpr seconds mesh_idle_max{120};                    // nothing heard: the session is collected
inline constexpr seconds mesh_quiet_max{2};                     // sent much, heard nothing: shake hands anew beside it
inline constexpr seconds mesh_refused_pause{2};                 // before an endpoint that was refused is tried again
inline constexpr seconds mesh_twin_patience{1};                 // for another holder of our own key to say who it is
inline constexpr std::size_t mesh_lost_sessions_per_s = 5;      // answers to records of sessions that are unknown here

class mesh {
public:
  static outcome<std::unique_ptr<mesh>> open(asio::io_context& io, const clock& time, mesh_config config, mesh_callbacks on);
  ~mesh(); // says goodbye to all peers

  endpoint local(ip_family family) const; // port 0: not bound
  const node_id& self() const;

  // Shakes hands with whoever is there, unless a session is up or that is going on already. A seed, or an entry of the
  // peer file. One attempt lasts 6 s; call again (as often as you like) until `peer` comes.
  void connect(const endpoint& to);
  // Where a member listens, as its body says. Replaces an earlier address.
  void set_address(const node_id& member, const endpoint& at);
  void forget_address(const node_id& member);

  // False if there is no way to that member: no session and no address. What is sent during a handshake waits for it.
  bool send_gossip(const node_id& to, std::string_view bytes);

  // To that very session of a node, where it has more than one.
  bool send_gossip_at(const endpoint& at, std::string_view bytes);

  // OpenDHT's datagrams, by endpoint. Any thread; never blocks; over the limit: lost.
  void send_kademlia(const endpoint& to, std::string bytes);
  // The same, for whoever may outlive the mesh: harmless then.
  std::function<void(const endpoint& to, std::string bytes)> kademlia_sender() const;
  // Where received ones go, on the mesh's thread, the sender's claimed id checked. An empty function ends it.
  void set_kademlia_sink(std::function<void(const endpoint& from, std::string bytes)> sink);

  // Ends the live sessions of revoked certificates.
  void set_crl(std::string der);
  // A renewed certificate for the same key: shown from now on. Sessions that are up serve on until those under the new
  // certificate, which are begun at once, stand beside them.
  void set_identity(certs::bundle_ptr renewed);

  std::vector<mesh_peer> peers() const; // one entry per node with a session
  bool has_session(const node_id& id) const;

  class core; // the inside; private to this room
private:
  explicit mesh(std::shared_ptr<core> c);
  std::shared_ptr<core> core_;
};

} // namespace skald::dht
