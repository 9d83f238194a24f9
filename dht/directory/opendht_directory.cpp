#include "dht/directory/opendht_directory.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "certs/credentials.hpp"
#include "dht/directory/record.hpp"
#include "dht/mesh/loop.hpp"
#include "dht/mesh/mesh.hpp"

#include <cstring>
#include <future>
#include <map>
#include <opendht/dhtrunner.h>
#include <thread>

namespace skald::dht {
namespace {

metrics::counter records_refused("skald_directory_records_refused_total", "directory records that did not verify");

constexpr int random_gets = 3;            // after the first peer: some nodes know few good ones else
constexpr std::size_t publish_again_max = 8; // the record is put once more when one of the first peers appears
constexpr ::dht::ValueType::Id record_type = 0x5b1d;
constexpr seconds record_lifetime{600};   // permanent puts are announced again 10 s before

::dht::SockAddr to_opendht(const endpoint& e) {
  ::dht::SockAddr out;
  out.setFamily(e.ip.is_v4() ? AF_INET : AF_INET6);
  if (e.ip.is_v4()) std::memcpy(&out.getIPv4().sin_addr, e.ip.bytes.data(), 4);
  else std::memcpy(&out.getIPv6().sin6_addr, e.ip.bytes.data(), 16);
  out.setPort(e.port);
  return out;
}

std::optional<endpoint> from_opendht(const ::dht::SockAddr& a) {
  endpoint out;
  if (a.getFamily() == AF_INET) {
    std::memcpy(out.ip.bytes.data(), &a.getIPv4().sin_addr, 4);
  } else if (a.getFamily() == AF_INET6) {
    out.ip.family = ip_family::v6;
    std::memcpy(out.ip.bytes.data(), &a.getIPv6().sin6_addr, 16);
  } else {
    return std::nullopt;
  }
  out.port = a.getPort();
  return out;
}

// OpenDHT's socket. sendTo comes on the DHT thread with its mutex held, so it only posts; received packets come on the
// mesh's thread, with no lock of ours held.
class mesh_socket final : public ::dht::net::DatagramSocket {
public:
  explicit mesh_socket(mesh& over)
      : send_(over.kademlia_sender()), v4_(over.local(ip_family::v4)), v6_(over.local(ip_family::v6)), bound4_(to_opendht(v4_)), bound6_(to_opendht(v6_)) {}

  int sendTo(const ::dht::SockAddr& to, const std::uint8_t* data, std::size_t size, bool) override {
    if (const auto where = from_opendht(to)) send_(*where, std::string(reinterpret_cast<const char*>(data), size));
    return 0;
  }
  bool hasIPv4() const override { return v4_.port != 0; }
  bool hasIPv6() const override { return v6_.port != 0; }
  const ::dht::SockAddr& getBoundRef(sa_family_t family) const override { return family == AF_INET6 ? bound6_ : bound4_; }
  void stop() override {} // the mesh's socket goes on; the sink is taken away before this object dies

  void take(const endpoint& from, const std::string& bytes) {
    auto packets = getNewPacket();
    auto& p = packets.front();
    p.data.assign(bytes.begin(), bytes.end());
    p.from = to_opendht(from);
    p.received = ::dht::clock::now();
    onReceived(std::move(packets));
  }

private:
  std::function<void(const endpoint&, std::string)> send_;
  endpoint v4_, v6_;
  ::dht::SockAddr bound4_, bound6_;
};

::dht::InfoHash hash_of(const ring_key& k) { return ::dht::InfoHash(k.bytes.data(), k.bytes.size()); }

::dht::DhtRunner::Config runner_config(const certs::bundle& identity) {
  ::dht::DhtRunner::Config c;
  auto& node = c.dht_config.node_config;
  node.node_id = ::dht::InfoHash(identity.id.bytes.data(), identity.id.bytes.size());
  // Clusters that met by mistake would not even talk Kademlia; 0 is the public network.
  node.network = get_be<std::uint32_t>(crypto::sha1("skald network " + identity.domain)) | 1;
  node.max_req_per_sec = -1;
  node.max_peer_req_per_sec = -1;
  node.max_store_size = static_cast<ssize_t>(directory_store_bytes_max);
  node.public_stable = true;
  c.threaded = true;
  return c;
}

} // namespace

struct opendht_directory::state : std::enable_shared_from_this<state> {
  asio::io_context& io;
  const clock& time;
  mesh& over;
  certs::bundle_ptr identity;
  certs::trust trust;
  std::shared_ptr<::dht::DhtRunner> runner = std::make_shared<::dht::DhtRunner>();
  std::shared_ptr<::dht::Value> own;
  std::uint64_t own_version = 0;
  std::size_t peers_met = 0;

  state(asio::io_context& i, const clock& t, mesh& m, certs::bundle_ptr id)
      : io(i), time(t), over(m), identity(std::move(id)), trust(certs::trust_of(*identity)) {}

  // What others may store here: only records that verify. On the DHT thread.
  ::dht::ValueType type() const {
    const auto accept = [trust = trust, &clock = time](::dht::InfoHash, std::shared_ptr<::dht::Value>& v, const ::dht::InfoHash&, const ::dht::SockAddr&) {
      const bool good = v && open_record({reinterpret_cast<const char*>(v->data.data()), v->data.size()}, trust, clock.wall()).has_value();
      if (!good) records_refused.add();
      return good;
    };
    return ::dht::ValueType(record_type, "skald record", record_lifetime, accept);
  }
  void put_own() {
    if (own) runner->put(own_key(), own, ::dht::DoneCallbackSimple{}, ::dht::time_point::max(), true);
  }
  ::dht::InfoHash own_key() const { return hash_of(directory_key(identity->domain, directory_shard(identity->id))); }
  void stop();
};

// What one read() has gathered; touched on the cluster thread only.
struct reading {
  std::function<void(const directory_entry&)> found;
  std::function<void(bool)> done;
  std::map<node_id, std::uint64_t> newest;
  std::size_t keys_left = 0;
  bool complete = true;
};

opendht_directory::opendht_directory(asio::io_context& io, const clock& time, mesh& over, certs::bundle_ptr identity)
    : state_(std::make_shared<state>(io, time, over, std::move(identity))) {
  auto socket = std::make_unique<mesh_socket>(over);
  over.set_kademlia_sink([s = socket.get()](const endpoint& from, const std::string& bytes) { s->take(from, bytes); });
  ::dht::DhtRunner::Context context;
  context.sock = std::move(socket);
  state_->runner->run(runner_config(*state_->identity), std::move(context));
  state_->runner->registerType(state_->type());
}

opendht_directory::~opendht_directory() {
  state_->over.set_kademlia_sink(nullptr);
  state_->stop();
}

// First shutdown, whose callback may wait for others, then join; neither may hold up the end of the process.
void opendht_directory::state::stop() {
  const auto finished = std::make_shared<std::promise<void>>();
  auto waiting = finished->get_future();
  std::thread helper([runner = runner, finished] {
    const auto down = std::make_shared<std::promise<void>>();
    runner->shutdown([down] { down->set_value(); });
    down->get_future().wait_for(directory_stop_time_max / 4);
    runner->join();
    finished->set_value();
  });
  if (waiting.wait_for(directory_stop_time_max) == std::future_status::ready) {
    helper.join();
    return;
  }
  log::warning("directory", "OpenDHT did not stop in time; left behind");
  helper.detach();
}

void opendht_directory::met(const endpoint& at) {
  auto& s = *state_;
  s.runner->bootstrap(to_opendht(at));
  if (++s.peers_met == 1)
    for (int i = 0; i < random_gets; ++i)
      s.runner->get(::dht::InfoHash::getRandom(), [](const std::vector<std::shared_ptr<::dht::Value>>&) { return true; }, ::dht::DoneCallbackSimple{});
  if (s.peers_met <= publish_again_max) s.put_own();
}

void opendht_directory::set_identity(certs::bundle_ptr renewed) { state_->identity = std::move(renewed); }
void opendht_directory::set_crl(std::string der) { state_->trust.crl = std::move(der); }

void opendht_directory::publish(const member_body& own) {
  auto& s = *state_;
  if (s.own && own.version <= s.own_version) return;
  const std::string record = make_record(own, *s.identity);
  // A new value id for each version: an update in place would not be delivered.
  auto value = std::make_shared<::dht::Value>(record_type, reinterpret_cast<const std::uint8_t*>(record.data()), record.size());
  value->id = get_be<std::uint64_t>(crypto::sha1(record)) | 1;
  if (s.own) s.runner->cancelPut(s.own_key(), s.own->id);
  s.own = std::move(value);
  s.own_version = own.version;
  s.put_own();
}

void opendht_directory::read(std::function<void(const directory_entry&)> found, std::function<void(bool)> done) {
  auto& s = *state_;
  const auto r = std::make_shared<reading>();
  r->found = std::move(found);
  r->done = std::move(done);
  r->keys_left = std::size_t{1} << directory_shard_bits;
  const std::weak_ptr<state> weak = state_;
  // Both callbacks come on the DHT thread under its mutex: they only post.
  const auto on_value = [weak, r](const std::shared_ptr<::dht::Value>& v) {
    const auto alive = weak.lock();
    if (!alive || v->type != record_type) return alive != nullptr;
    post_to(alive->io, [weak, r, bytes = std::string(v->data.begin(), v->data.end())] {
      const auto self = weak.lock();
      if (!self) return;
      const auto entry = open_record(bytes, self->trust, self->time.wall());
      if (!entry) return records_refused.add();
      auto& known = r->newest[entry->id];
      if (entry->id == self->identity->id || entry->body.version <= known) return;
      known = entry->body.version;
      r->found(*entry);
    });
    return true;
  };
  const auto on_done = [weak, r](bool ok) {
    const auto alive = weak.lock();
    if (!alive) return;
    post_to(alive->io, [weak, r, ok] {
      r->complete = r->complete && ok;
      if (--r->keys_left == 0 && weak.lock() && r->done) r->done(r->complete);
    });
  };
  for (std::uint32_t shard = 0; shard < (1u << directory_shard_bits); ++shard)
    s.runner->get(hash_of(directory_key(s.identity->domain, shard)), ::dht::GetCallbackSimple(on_value), ::dht::DoneCallbackSimple(on_done));
}

node_id opendht_directory::kademlia_id() const {
  const auto h = state_->runner->getNodeId();
  return node_id::from_bytes({reinterpret_cast<const char*>(h.data()), h.size()}).value();
}

std::size_t opendht_directory::good_nodes() const {
  unsigned good = 0;
  for (const auto family : {AF_INET, AF_INET6}) good += state_->runner->getNodesStats(static_cast<sa_family_t>(family)).good_nodes;
  return good;
}

} // namespace skald::dht
