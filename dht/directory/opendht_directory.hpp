#pragma once
// The directory over OpenDHT, whose datagrams go through the mesh.
//
//   dht::opendht_directory names(io, the_clock, *mesh, bundle);
//   on.peer = [&](const dht::mesh_peer& p) { names.met(p.at); … };
//   names.publish(own_body);
//   names.read([](const dht::directory_entry& e) { … }, [](bool complete) { … });
//
// OpenDHT has a thread of its own. This object is made, used and destroyed on the thread that runs `io`, before the mesh;
// the destructor takes at most `directory_stop_time_max`. No peer yet: `read` ends at once, incomplete.
#include "base/clock.hpp"
#include "certs/bundle.hpp"
#include "dht/directory/directory.hpp"

#include <memory>

namespace asio {
class io_context;
}

namespace skald::dht {

class mesh;

inline constexpr milliseconds directory_stop_time_max{1000};
inline constexpr std::size_t directory_store_bytes_max = 16 << 20; // what others put here

class opendht_directory final : public directory {
public:
  opendht_directory(asio::io_context& io, const clock& time, mesh& over, certs::bundle_ptr identity);
  ~opendht_directory() override;

  // A node of the cluster has been met at this overlay endpoint: Kademlia begins from there.
  void met(const endpoint& at);

  // A renewed certificate, or a new revocation list: publish() and read() go by them from now on.
  void set_identity(certs::bundle_ptr renewed);
  void set_crl(std::string der);

  void publish(const member_body& own) override;
  void read(std::function<void(const directory_entry&)> found, std::function<void(bool complete)> done) override;

  node_id kademlia_id() const; // as OpenDHT reports it
  std::size_t good_nodes() const;

private:
  struct state;
  std::shared_ptr<state> state_;
};

} // namespace skald::dht
