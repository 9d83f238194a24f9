#pragma once
// The inside of the mesh: a slot per endpoint, with at most one session that is up and one that is shaking hands.
// Private to the room.
#include "dht/mesh/loop.hpp"
#include "dht/mesh/mesh.hpp"
#include "dht/mesh/refusals.hpp"
#include "dht/mesh/session.hpp"

#include <atomic>
#include <deque>
#include <optional>
#include <unordered_map>

namespace skald::dht {

class mesh::core final : public session_host, public std::enable_shared_from_this<mesh::core> {
public:
  core(asio::io_context& io, const clock& time, mesh_config config, mesh_callbacks on);
  ~core() override;
  outcome<void> open_sockets();
  void close();

  endpoint local(ip_family family) const;
  const node_id& self() const { return config_.identity->id; }
  void connect(const endpoint& to);
  void set_address(const node_id& member, const endpoint& at) { addresses_[member] = at; }
  void forget_address(const node_id& member) { addresses_.erase(member); }
  bool send_gossip(const node_id& to, std::string_view bytes);
  bool send_gossip_at(const endpoint& at, std::string_view bytes);
  void post_kademlia(const endpoint& to, std::string bytes);
  void set_kademlia_sink(std::function<void(const endpoint&, std::string)> sink) { kademlia_sink_ = std::move(sink); }
  void set_crl(std::string der);
  void set_identity(certs::bundle_ptr renewed);
  std::vector<mesh_peer> peers() const;
  bool has_session(const node_id& id) const { return homes_.contains(id); }

  // session_host
  void transmit(const endpoint& to, std::string_view datagram) override;
  std::expected<certs::peer, certs::refusal> judge(gnutls_session_t session) override;

private:
  struct waiting {
    mesh_channel channel{};
    std::optional<node_id> only_for; // gossip is for a node, not for an address
    std::string bytes;
  };
  struct slot {
    std::unique_ptr<mesh_session> live, fresh;
    reassembler parts;
    std::deque<waiting> queue;
    std::size_t queued_bytes = 0;
    mono_time heard{}, sent_since{};      // sent_since: first datagram sent after the last one heard
    bool awaiting = false;
    mono_time not_before{};               // of the next attempt
    std::optional<mono_time> twin_until;  // fresh is open, and our own key's: we wait for its claim
  };

  // receiving (core_receive.cpp)
  void on_datagram(const endpoint& from, std::string_view datagram);
  void on_client_hello(const endpoint& from, std::string_view datagram, const hello_random& random);
  bool is_own_hello(const hello_random& random);
  bool keeps_own_attempt(const endpoint& from, const hello_random& random) const;
  bool cookie_is_valid(const endpoint& from, std::string_view datagram, gnutls_dtls_prestate_st& prestate);
  void on_plain_record(const endpoint& from, std::string_view datagram);
  void on_sealed_record(const endpoint& from, std::string_view datagram);
  void feed_fresh(const endpoint& from, std::string_view datagram);
  void feed_live(const endpoint& from, std::string_view datagram);
  void deliver(const endpoint& from, const std::vector<std::string>& records);
  void deliver_kademlia(const endpoint& from, const node_id& sender, std::string bytes);
  void on_unreachable(const endpoint& to);

  // sessions (core.cpp)
  void begin_attempt(const endpoint& to);
  void after_handshake(const endpoint& at);
  void adopt(const endpoint& at);
  void speaks_from(const node_id& sender, const endpoint& at);
  void ask_twin(const endpoint& at);
  void met_twin(const endpoint& at, std::string claim);
  void give_up(const endpoint& at);
  void end_live(const endpoint& at);
  void drop_if_empty(const endpoint& at);
  void send(const endpoint& to, waiting what);
  void send_now(slot& s, const waiting& what);
  void flush(const endpoint& at);
  std::optional<endpoint> way_to(const node_id& member) const;
  void retransmit_tick();
  void housekeeping_tick();
  bool has_room_for(const endpoint& from) const;
  mono_time now() const { return time_.now(); }

  asio::io_context& io_;
  const clock& time_;
  mesh_config config_;
  mesh_callbacks on_;
  certs::credentials_ptr credentials_;
  certs::trust trust_;
  std::string cookie_key_;
  std::unique_ptr<udp_socket> v4_, v6_;
  std::unique_ptr<ticker> retransmit_, housekeeping_;
  std::unordered_map<endpoint, std::unique_ptr<slot>> slots_;
  std::unordered_map<node_id, endpoint> homes_;     // the endpoint of the newest session with a node
  std::unordered_map<node_id, endpoint> addresses_; // as told by set_address
  std::function<void(const endpoint&, std::string)> kademlia_sink_;
  std::atomic<std::size_t> posted_{0};
  refusal_log refusals_;
  std::uint32_t next_message_ = 0;
  mono_time lost_window_{};
  std::size_t lost_in_window_ = 0;
  bool closed_ = false;
};

} // namespace skald::dht
