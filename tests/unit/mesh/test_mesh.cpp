#include "bench.hpp"

#include "base/rng.hpp"
#include "dht/mesh/refusals.hpp"

#include <set>

using namespace skald;
using test::at, test::authority, test::loopback, test::node_on_mesh;

namespace {

struct cluster : loopback {
  authority ca{time.wall()};
  std::vector<std::unique_ptr<node_on_mesh>> nodes;

  node_on_mesh& add(const std::string& name, std::function<bool()> lose = {}) {
    const auto bind = at("127.0.0." + std::to_string(21 + nodes.size()) + ":0");
    return *nodes.emplace_back(start(ca.make(name), bind, std::move(lose)));
  }
  bool talk(node_on_mesh& from, node_on_mesh& to, const std::string& text) {
    from.mesh->send_gossip(to.id(), text);
    return until([&] { return to.heard_from(from, text); });
  }
};

} // namespace

TEST_CASE("mesh: three nodes make sessions and gossip both ways, the sender authenticated") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b"), &d = c.add("d");
  a.mesh->connect(b.where());
  b.mesh->connect(d.where());
  d.mesh->connect(a.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a) && b.knows(d) && d.knows(b) && a.knows(d) && d.knows(a); }));
  for (auto* from : {&a, &b, &d})
    for (auto* to : {&a, &b, &d})
      if (from != to) CHECK(c.talk(*from, *to, "from " + from->identity->name + " to " + to->identity->name));
  CHECK(a.mesh->peers().size() == 2);
  CHECK(a.met[0].roles == a.identity->roles);
}

TEST_CASE("mesh: gossip to a member without a session finds its way by its address, and waits for the handshake") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b");
  CHECK_FALSE(a.mesh->send_gossip(b.id(), "nowhere to go"));
  a.mesh->set_address(b.id(), b.where());
  std::vector<std::string> said;
  for (int i = 0; i < 20; ++i) {
    said.push_back("word " + std::to_string(i));
    CHECK(a.mesh->send_gossip(b.id(), said.back()));
  }
  REQUIRE(c.until([&] { return b.heard[a.id()].size() == said.size(); }));
  CHECK(b.heard[a.id()] == said);
  CHECK(a.mesh->peers().size() == 1);
}

TEST_CASE("mesh: what waits for a handshake is bounded") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b");
  a.mesh->set_address(b.id(), b.where());
  for (std::size_t i = 0; i < dht::mesh_waiting_messages_max + 50; ++i) a.mesh->send_gossip(b.id(), "x");
  REQUIRE(c.until([&] { return !b.heard[a.id()].empty(); }));
  REQUIRE(c.talk(a, b, "the last"));
  CHECK(b.heard[a.id()].size() == dht::mesh_waiting_messages_max + 1);
}

TEST_CASE("mesh: gossip for one node is not handed to another that answers at its address") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b"), &d = c.add("d");
  a.mesh->set_address(d.id(), b.where()); // d has gone, b took its place
  a.mesh->send_gossip(d.id(), "for d only");
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  REQUIRE(c.talk(a, b, "for b"));
  CHECK(b.heard[a.id()] == std::vector<std::string>{"for b"});
}

TEST_CASE("mesh: both say hello at once, and one session comes of it") {
  for (int round = 0; round < 8; ++round) {
    cluster c;
    auto &a = c.add("a"), &b = c.add("b");
    a.mesh->set_address(b.id(), b.where());
    b.mesh->set_address(a.id(), a.where());
    a.mesh->send_gossip(b.id(), "hello b");
    b.mesh->send_gossip(a.id(), "hello a");
    REQUIRE(c.until([&] { return a.heard_from(b, "hello a") && b.heard_from(a, "hello b"); }));
    CHECK(a.met.size() == 1);
    CHECK(b.met.size() == 1);
  }
}

TEST_CASE("mesh: a message of 60 kB arrives in fragments, one of 70 kB does not leave") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b");
  a.mesh->connect(b.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  seeded_rng random(7);
  const std::string large = random.bytes(60'000);
  REQUIRE(c.talk(a, b, large));
  a.mesh->send_gossip(b.id(), std::string(70'000, 'x'));
  REQUIRE(c.talk(a, b, "after"));
  CHECK(b.heard[a.id()].size() == 2);
}

TEST_CASE("mesh: a node that restarts at once on the same address comes back, whoever speaks first") {
  for (const bool restarted_speaks : {true, false}) {
    CAPTURE(restarted_speaks);
    cluster c;
    bool dead = false;
    auto& a = c.add("a");
    auto& b = c.add("b", [&] { return dead; });
    a.mesh->connect(b.where());
    REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
    const auto place = b.where();
    dead = true; // as by kill -9: no goodbye gets out
    b.mesh.reset();
    b.heard.clear();
    c.open(b, place);
    if (restarted_speaks) {
      b.mesh->connect(a.where());
      REQUIRE(c.until([&] { return b.knows(a); }));
      REQUIRE(c.talk(b, a, "I am back"));
    } else {
      a.mesh->set_address(b.id(), place);
    }
    REQUIRE(c.until([&] {
      a.mesh->send_gossip(b.id(), "are you there");
      return b.heard_from(a, "are you there");
    }));
    REQUIRE(c.talk(b, a, "yes"));
  }
}

TEST_CASE("mesh: a peer killed without goodbye is found again through its first lost record") {
  cluster c;
  bool dead = false;
  auto& a = c.add("a");
  auto& b = c.add("b", [&] { return dead; });
  a.mesh->connect(b.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  const auto place = b.where();
  dead = true; // the goodbye does not get out
  b.mesh.reset();
  c.open(b, place);
  CHECK(a.knows(b)); // a has not noticed
  a.mesh->send_gossip(b.id(), "lost, but it wakes b");
  REQUIRE(c.until([&] { return b.knows(a) && a.met.size() == 2; }));
  CHECK(a.lost.empty()); // replaced, never down
  REQUIRE(c.talk(a, b, "again"));
  REQUIRE(c.talk(b, a, "and back"));
}

TEST_CASE("mesh: handshakes get through a network that loses a third of the datagrams") {
  seeded_rng random(11); // outlives the nodes: they use it to their end
  cluster c;
  const auto lose = [&] { return random.chance(0.33); };
  auto &a = c.add("a", lose), &b = c.add("b", lose);
  a.mesh->set_address(b.id(), b.where());
  b.mesh->set_address(a.id(), a.where());
  REQUIRE(c.until([&] {
    a.mesh->send_gossip(b.id(), "one");
    b.mesh->send_gossip(a.id(), "two");
    return a.heard_from(b, "two") && b.heard_from(a, "one");
  }, seconds(30)));
}

TEST_CASE("mesh: a goodbye ends the session at the other end, and a closed port is a hint") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b");
  a.mesh->connect(b.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  b.mesh.reset();
  REQUIRE(c.until([&] { return !a.knows(b); }));
  CHECK(a.lost == std::vector<node_id>{b.id()});
}

TEST_CASE("mesh: an unreachable port is a hint about the node that was there") {
  cluster c;
  bool dead = false;
  auto& a = c.add("a");
  auto& b = c.add("b", [&] { return dead; });
  a.mesh->connect(b.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  dead = true;
  b.mesh.reset();
  REQUIRE(c.until([&] {
    a.mesh->send_gossip(b.id(), "anybody");
    return !a.unreachable.empty();
  }));
  CHECK(a.unreachable[0] == b.id());
}

TEST_CASE("mesh: a node among whose seeds is its own address goes on") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b");
  a.mesh->connect(a.where());
  a.mesh->connect(b.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  CHECK(a.twins.empty());
  CHECK_FALSE(a.knows(a));
}

TEST_CASE("mesh: the same bundle at another address is noticed by both, and each is told who the other is") {
  cluster c;
  auto& a = c.add("a");
  auto twin = c.start(a.identity, at("127.0.0.41:0"));
  twin->own_claim = "the second";
  a.mesh->connect(twin->where());
  REQUIRE(c.until([&] { return !a.twins.empty() && !twin->twins.empty(); }));
  CHECK(a.twins[0] == twin->where());
  CHECK(a.claims[0] == "the second");
  CHECK(twin->claims[0] == "mine");
  CHECK_FALSE(a.knows(a));
}

TEST_CASE("mesh: a holder of the same bundle that says nothing of itself is noticed all the same") {
  cluster c;
  auto& a = c.add("a");
  a.own_claim.clear(); // an empty datagram is no record
  auto twin = c.start(a.identity, at("127.0.0.42:0"));
  a.mesh->connect(twin->where());
  REQUIRE(c.until([&] { return !twin->twins.empty(); }));
  CHECK(twin->claims[0].empty());
}

TEST_CASE("mesh: where the process that was met last has fallen silent, a node is where it speaks from") {
  cluster c;
  auto &a = c.add("a"), &b = c.add("b");
  a.mesh->connect(b.where());
  REQUIRE(c.until([&] { return a.knows(b) && b.knows(a); }));
  bool off = false;
  auto twin = c.start(a.identity, at("127.0.0.43:0"), [&off] { return off; });
  twin->mesh->connect(b.where());
  REQUIRE(c.until([&] { return twin->knows(b) && b.met.size() == 2; }));
  off = true; // killed: no goodbye
  REQUIRE(c.until([&] {
    a.mesh->send_gossip(b.id(), "here");
    b.mesh->send_gossip(a.id(), "and there");
    return a.heard_from(b, "and there");
  }));
}

TEST_CASE("mesh: a port that is taken is an error that names it") {
  cluster c;
  auto& a = c.add("a");
  const auto second = dht::mesh::open(c.io, c.time, {.identity = a.identity, .bind = {a.where()}}, {});
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().what.find(a.where().text()) != std::string::npos);
}

TEST_CASE("mesh: IPv6 works beside IPv4") {
  loopback net;
  authority ca(net.time.wall());
  std::unique_ptr<dht::mesh> meshes[2];
  for (auto& m : meshes) {
    auto opened = dht::mesh::open(net.io, net.time, {.identity = ca.make(&m == meshes ? "a" : "b"), .bind = {at("127.0.0.30:0"), at("[::1]:0")}}, {});
    if (!opened) return; // a machine without IPv6
    m = std::move(*opened);
  }
  meshes[0]->connect(meshes[1]->local(ip_family::v6));
  CHECK(net.until([&] { return meshes[0]->has_session(meshes[1]->self()) && meshes[1]->has_session(meshes[0]->self()); }));
  CHECK_FALSE(meshes[0]->peers()[0].at.ip.is_v4());
}
