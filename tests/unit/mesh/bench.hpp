#pragma once
// Meshes on loopback, in one process and on one thread: real sockets and real time, waiting for conditions only.
#include "../certs/scratch.hpp"
#include "dht/mesh/loop.hpp"
#include "dht/mesh/mesh.hpp"

#include <algorithm>
#include <asio/io_context.hpp>
#include <chrono>
#include <doctest/doctest.h>
#include <map>

namespace skald::test {

class real_clock final : public clock {
public:
  mono_time now() const override {
    return mono_time(std::chrono::duration_cast<duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }
  unix_ms wall() const override { return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }
};

inline endpoint at(const std::string& text) { return endpoint::parse(text).value(); }

// A cluster's CA in a scratch directory.
class authority {
public:
  explicit authority(unix_ms when) : when_(when) { REQUIRE(certs::init_cluster(dir_.path(), "example.com", when)); }
  certs::bundle_ptr make(const std::string& name, std::vector<std::string> roles = {}) {
    const auto made = certs::issue(dir_.path(), {.name = name, .roles = std::move(roles)}, when_);
    REQUIRE(made.has_value());
    return std::make_shared<certs::bundle>(certs::read_bundle(made->path).value());
  }
  const std::string& path() const { return dir_.path(); }

private:
  scratch dir_;
  unix_ms when_;
};

struct node_on_mesh {
  certs::bundle_ptr identity;
  std::unique_ptr<dht::mesh> mesh;
  std::map<node_id, std::vector<std::string>> heard;
  std::vector<dht::mesh_peer> met;
  std::vector<node_id> lost, unreachable;
  std::vector<endpoint> twins;
  std::vector<std::string> claims; // beside twins
  std::string own_claim = "mine";

  const node_id& id() const { return identity->id; }
  endpoint where() const { return mesh->local(ip_family::v4); }
  bool knows(const node_on_mesh& other) const { return mesh->has_session(other.id()); }
  bool heard_from(const node_on_mesh& other, const std::string& text) const {
    const auto found = heard.find(other.id());
    return found != heard.end() && std::ranges::find(found->second, text) != found->second.end();
  }
};

class loopback {
public:
  asio::io_context io;
  real_clock time;

  std::unique_ptr<node_on_mesh> start(certs::bundle_ptr identity, const endpoint& bind, std::function<bool()> lose = {}) {
    auto n = std::make_unique<node_on_mesh>();
    n->identity = std::move(identity);
    open(*n, bind, std::move(lose));
    return n;
  }
  void open(node_on_mesh& n, const endpoint& bind, std::function<bool()> lose = {}) {
    dht::mesh_callbacks on;
    on.gossip = [&n](const node_id& from, std::string_view bytes) { n.heard[from].emplace_back(bytes); };
    on.peer = [&n](const dht::mesh_peer& p) { n.met.push_back(p); };
    on.peer_down = [&n](const node_id& id) { n.lost.push_back(id); };
    on.unreachable = [&n](const node_id& id) { n.unreachable.push_back(id); };
    on.twin = [&n](const endpoint& e, std::string_view claim) {
      n.twins.push_back(e);
      n.claims.emplace_back(claim);
    };
    dht::mesh_config config{.identity = n.identity, .bind = {bind}, .lose = std::move(lose)};
    config.twin_claim = [&n] { return n.own_claim; };
    auto opened = dht::mesh::open(io, time, std::move(config), std::move(on));
    REQUIRE(opened.has_value());
    n.mesh = std::move(*opened);
  }

  template <class F>
  bool until(F&& condition, std::chrono::milliseconds deadline = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io.restart();
      io.run_for(std::chrono::milliseconds(2));
    }
    return true;
  }
};

} // namespace skald::test
