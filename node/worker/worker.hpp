#pragma once
// A worker (sip.md §5): one thread with its loop, one UDP socket per address, its streams and links. What it receives
// goes to its `worker_user`; the roles above reach the network by sip::message_sender and roles::flow_port, both here.
//
// Life: construct all workers of a group, bind() each, set_user() each, start() each; stop() all, then destroy.
// Unless said otherwise methods belong to the worker's own thread, or to the starting thread before start().
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "node/io/load_watch.hpp"
#include "node/io/loop.hpp"
#include "node/io/udp_socket.hpp"
#include "node/streams/flow_registry.hpp"
#include "node/streams/stream_pool.hpp"
#include "node/worker/worker_index.hpp"
#include "roles/core/ports.hpp"
#include "sip/flow.hpp"
#include "sip/message/message.hpp"
#include "sip/transaction/layer.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace skald::node {

struct worker_config {
  std::uint16_t index = 0;
  std::vector<ip_address> addresses;      // of this machine; never the wildcard
  std::optional<ip_address> advertise{};  // --advertise: what stands in Via instead of an address of that family
  std::uint16_t sip_port = 5060;          // UDP and TCP
  std::uint16_t sips_port = 5061;
  bool sips = true;                       // false: no TLS listener
};

// Port: what the composition builds over a worker. Called on the worker's thread.
class worker_user {
public:
  // Parsed, and stamped with received and rport (not on links); not yet validated.
  virtual void on_message(sip::message m, const sip::arrival& from) = 0;
  // Before what came from outside is even parsed. False: it has to wait; the user keeps a copy and gives it to
  // worker::take_up() when its time comes, or never.
  virtual bool takes(std::string_view bytes, const sip::arrival& from) {
    return static_cast<void>(bytes), static_cast<void>(from), true;
  }
  // A stream ended, of this worker, or one of another worker that this one has sent on; what is sent on it from now on is
  // refused. It may be told twice.
  virtual void on_flow_gone(const sip::flow& f) = 0;

protected:
  ~worker_user() = default;
};

class worker;

// What the workers of a node share; outlives them. The vector is filled before the first start(), then left alone.
struct worker_group {
  worker_group(const skald::clock& c, std::uint64_t seed) : clock(c), index(seed) {}
  const skald::clock& clock;
  worker_index index;
  flow_registry live;
  load_signs load;
  stream_setup streams; // TLS and link credentials, who may link, where nodes are
  std::vector<worker*> workers;
};

class worker final : public sip::message_sender, public roles::flow_port, udp_user, stream_pool_user {
public:
  worker(worker_config config, worker_group& group); // adds itself to the group; indices are 0, 1, 2 … in that order
  ~worker();

  // Opens the sockets. The failure names the port, and who has it. A port 0 in the configuration takes a free one, the
  // same for each later worker of the group only if the caller writes it into their configuration.
  outcome<void> bind();
  void set_user(worker_user& user) { user_ = &user; }
  void start(); // begins to read and starts the thread
  void stop();  // any other thread; returns when the thread has ended. Harmless twice.

  loop& events() { return loop_; }
  worker_group& group() { return group_; }
  const worker_config& config() const { return config_; } // after bind() with the real ports
  // Parses and passes on what takes() had kept back.
  void take_up(std::string_view bytes, const sip::arrival& from);
  // A message that belongs to another worker: its user sees it there as if it had arrived there.
  void hand_over(std::uint16_t to, sip::message m, const sip::arrival& from);
  // A verified `sip/2` link that the cluster thread accepted. Any thread.
  void adopt_link(accepted_link link);
  // After a revocation: links whose peer no longer passes are cut. Any thread.
  void recheck_links();
  // That node is dead in the view: its links end now, for what is sent on them would wait for TCP's next try long after
  // the node is back (RFC 6298 §5.5 doubles the pause). Any thread.
  void drop_links(const node_id& peer);

  // sip::message_sender
  bool send(const sip::flow& where, std::string_view bytes) override;

  // roles::flow_port
  void open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) override;
  void open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) override;
  std::optional<roles::flow_facts> facts(const sip::flow& f) const override;
  endpoint advertised(const sip::flow& f) const override;
  void run_on(std::uint16_t worker, std::move_only_function<void()> what) override;
  std::uint16_t worker_count() const override;
  bool alive(const sip::flow& f) const override;

private:
  void on_waited(duration d) override { came_ = loop_.now() - d; }
  void on_datagram(udp_socket& on, const endpoint& from, std::string_view bytes) override;
  void on_stream_message(std::string bytes, const sip::arrival& from) override;
  void on_stream_gone(const sip::flow& f) override;
  bool send_elsewhere(const sip::flow& where, std::string_view bytes);
  void send_for(worker& asker, const sip::flow& where, std::string_view bytes);
  void tell_gone(const sip::flow& f); // any thread
  void dispatch(sip::message m, const sip::arrival& from);
  udp_socket* socket_for(const sip::flow& f);
  std::optional<sip::flow> udp_flow_to(const endpoint& remote);
  outcome<void> bind_address(const ip_address& a);

  worker_config config_;
  worker_group& group_;
  worker_user* user_ = nullptr;
  loop loop_;
  std::vector<std::unique_ptr<udp_socket>> sockets_; // in the order of config_.addresses
  stream_pool streams_;
  std::unordered_map<std::uint32_t, std::uint16_t> lent_; // streams here that other workers have sent on: one bit each
  mono_time came_{}; // when the kernel had the first of the batch that is read now
  std::jthread thread_;
};

} // namespace skald::node
