#pragma once
// Clusters with a CA made on the spot, and nodes that have links: a worker group beside a cluster loop with a hub.
#include "certs/authority.hpp"
#include "certs/bundle.hpp"
#include "node/streams/bundle_tls.hpp"
#include "node/streams/link_hub.hpp"
#include "tests/unit/node/worker_fixture.hpp"

#include <filesystem>
#include <map>

namespace skald::node::testing {

class cluster {
public:
  explicit cluster(std::string_view domain = "example.com") {
    char pattern[] = "/tmp/skald-links-XXXXXX";
    path_ = ::mkdtemp(pattern);
    (void)certs::init_cluster(path_, domain, time_.wall());
  }
  ~cluster() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  certs::bundle issue(const std::string& name) {
    return *certs::load_bundle(certs::issue(path_, {.name = name}, time_.wall())->path, time_.wall());
  }

private:
  system_clock time_;
  std::string path_;
};

// Where nodes are, for all nodes of a test.
class directory {
public:
  void put(const node_id& id, const endpoint& where) {
    map_.with([&](auto& m) { m[id] = where; });
  }
  link_lookup lookup() {
    return [this](const node_id& id) -> std::optional<endpoint> {
      return map_.with([&](auto& m) { return m.contains(id) ? std::optional(m[id]) : std::nullopt; });
    };
  }

private:
  guarded<std::map<node_id, endpoint>> map_;
};

class link_listener final : public dht::link_user {
public:
  void on_frame(const node_id&, dht::frame f) override {
    note([&] { frames_.push_back(std::move(f.body)); });
  }
  void on_link_up(const node_id&) override {
    note([&] { ++ups_; });
  }
  void on_link_down(const node_id&) override {
    note([&] { ++downs_; });
  }
  std::vector<std::string> wait_frames(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return frames_.size() >= n; });
    return frames_;
  }
  int wait_ups(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return ups_ >= n; });
    return ups_;
  }
  int wait_downs(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return downs_ >= n; });
    return downs_;
  }

private:
  template <class F>
  void note(F f) {
    const std::scoped_lock lock(mutex_);
    f();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> frames_;
  int ups_ = 0, downs_ = 0;
};

class linked_node {
public:
  linked_node(const certs::bundle& b, directory& where, const char* address, std::uint16_t worker_count = 1)
      : me(b), sip(worker_count, address, true), trust(certs::trust{b.ca, b.domain, {}}), cluster_loop(sip.time),
        hub(cluster_loop, {.self = b.id, .addresses = {*ip_address::parse(address)}, .port = 0}, sip.group.streams,
            [] { return dht::hello{.software = "test"}; },
            [this](accepted_link l) { sip.all[next_++ % sip.all.size()]->adopt_link(std::move(l)); }) {
    stream_setup& s = sip.group.streams;
    s.links.set(*link_credentials(b));
    s.phones.set(*phone_credentials(b, {}));
    s.outbound.set(*outbound_credentials(b));
    s.verify_peer = make_peer_verifier(trust, sip.time);
    s.where_is = where.lookup();
    bound = sip.bound && hub.bind().has_value();
    hub.set_user(user);
    hub.start();
    where.put(b.id, {*ip_address::parse(address), hub.port()});
    sip.start();
    thread_ = std::jthread([this] { cluster_loop.run(); });
  }
  ~linked_node() { stop(); }
  void stop() {
    if (!thread_.joinable()) return;
    cluster_loop.post_always([this] {
      hub.stop();
      cluster_loop.stop();
    });
    thread_.join();
  }
  bool send(const node_id& to, std::string body) {
    std::promise<bool> p;
    auto done = p.get_future();
    cluster_loop.post([&] { p.set_value(hub.send(to, {dht::frame_type::store_write, 1, std::move(body)})); });
    return done.get();
  }
  template <class F>
  void on_cluster(F f) {
    std::promise<void> p;
    auto done = p.get_future();
    cluster_loop.post([&] {
      f(hub);
      p.set_value();
    });
    done.get();
  }
  endpoint links() const { return {sip.all[0]->config().addresses[0], hub.port()}; }

  certs::bundle me;
  workers sip;
  trust_slot trust;
  loop cluster_loop;
  link_listener user;
  link_hub hub;
  bool bound = false;

private:
  std::size_t next_ = 0;
  std::jthread thread_;
};

} // namespace skald::node::testing
