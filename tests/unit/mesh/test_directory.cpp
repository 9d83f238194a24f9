#include "bench.hpp"

#include "dht/directory/opendht_directory.hpp"
#include "dht/mesh/refusals.hpp"

#include <set>

using namespace skald;
using namespace skald::dht;
using test::at;

namespace {

struct directory_node {
  std::unique_ptr<test::node_on_mesh> node;
  std::unique_ptr<opendht_directory> names;
  std::map<std::string, std::uint64_t> found;
  bool reading = false;

  member_body body(std::uint64_t version) const {
    member_body b;
    b.version = version;
    b.name = node->identity->name;
    b.addresses = {node->where().ip};
    b.overlay_port = node->where().port;
    b.roles.add(role::proxy);
    return b;
  }
};

struct directory_cluster : test::loopback {
  test::authority ca{time.wall()};
  std::vector<std::unique_ptr<directory_node>> nodes;

  directory_node& add(const std::string& name) {
    auto& n = *nodes.emplace_back(std::make_unique<directory_node>());
    n.node = std::make_unique<test::node_on_mesh>();
    n.node->identity = ca.make(name);
    dht::mesh_callbacks on;
    on.peer = [&n](const dht::mesh_peer& p) { n.names->met(p.at); };
    auto opened = dht::mesh::open(io, time, {.identity = n.node->identity, .bind = {at("127.0.0." + std::to_string(70 + nodes.size()) + ":0")}}, std::move(on));
    REQUIRE(opened.has_value());
    n.node->mesh = std::move(*opened);
    n.names = std::make_unique<opendht_directory>(io, time, *n.node->mesh, n.node->identity);
    n.names->publish(n.body(1));
    return n;
  }
  void read(directory_node& n) {
    if (n.reading) return;
    n.reading = true;
    n.names->read([&n](const directory_entry& e) { n.found[e.body.name] = e.body.version; }, [&n](bool) { n.reading = false; });
  }
  bool everybody_finds(const std::map<std::string, std::uint64_t>& wanted) {
    return until([&] {
      bool all = true;
      for (auto& n : nodes) {
        auto others = wanted;
        others.erase(n->node->identity->name);
        if (n->found == others) continue;
        all = false;
        read(*n);
      }
      return all;
    });
  }
  ~directory_cluster() {
    for (auto& n : nodes) n->names.reset();
  }
};

} // namespace

TEST_CASE("directory: three nodes publish, and find each other's records through OpenDHT over the mesh") {
  directory_cluster c;
  auto &a = c.add("a"), &b = c.add("b"), &d = c.add("d");
  CHECK(a.names->kademlia_id() == a.node->id());
  const auto forged = refused_total(mesh_refusal::forged_id);
  // A chain: a and d meet only through what Kademlia tells them.
  b.node->mesh->connect(a.node->where());
  d.node->mesh->connect(b.node->where());
  REQUIRE(c.everybody_finds({{"a", 1}, {"b", 1}, {"d", 1}}));
  CHECK(refused_total(mesh_refusal::forged_id) == forged);

  b.names->publish(b.body(2));
  b.names->publish(b.body(1)); // an older one changes nothing
  REQUIRE(c.everybody_finds({{"a", 1}, {"b", 2}, {"d", 1}}));
}

TEST_CASE("directory: one that is alone answers at once, and stops at once") {
  directory_cluster c;
  auto& a = c.add("a");
  c.read(a);
  CHECK(c.until([&] { return !a.reading; }));
  CHECK(a.found.empty());
  const auto begun = std::chrono::steady_clock::now();
  a.names.reset();
  CHECK(std::chrono::steady_clock::now() - begun < directory_stop_time_max + milliseconds(200));
}
