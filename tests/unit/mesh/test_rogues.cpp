#include "rogue.hpp"

#include "dht/mesh/refusals.hpp"

#include <msgpack.hpp>

using namespace skald;
using dht::mesh_refusal, dht::refused_total;
using test::at, test::authority, test::loopback, test::node_on_mesh, test::rogue, test::one_day;

namespace {

// Two nodes that serve each other while somebody knocks.
struct served : loopback {
  authority ca{time.wall()};
  std::unique_ptr<node_on_mesh> a = start(ca.make("a"), at("127.0.0.51:0")), b = start(ca.make("b"), at("127.0.0.52:0"));
  int words = 0;

  served() {
    a->mesh->connect(b->where());
    REQUIRE(until([&] { return a->knows(*b) && b->knows(*a); }));
  }
  bool serves() {
    const std::string word = "word " + std::to_string(++words);
    a->mesh->send_gossip(b->id(), word);
    b->mesh->send_gossip(a->id(), word);
    return until([&] { return a->heard_from(*b, word) && b->heard_from(*a, word); });
  }
  void knock(certs::credentials_ptr credentials, mesh_refusal reason) {
    rogue r(io, std::move(credentials), a->where());
    const auto before = refused_total(reason);
    r.shake_hands();
    REQUIRE(until([&] { return refused_total(reason) > before; }));
    CHECK(until([&] { return r.is_out(); }));
    CHECK(serves());
    CHECK(a->mesh->peers().size() == 1);
  }
};

std::string kademlia_ping(const node_id& claimed, const char* body_key) {
  msgpack::sbuffer out;
  msgpack::packer<msgpack::sbuffer> pk(out);
  pk.pack_map(2);
  pk.pack(std::string(body_key));
  pk.pack_map(1);
  pk.pack(std::string("id"));
  pk.pack_bin(20);
  pk.pack_bin_body(reinterpret_cast<const char*>(claimed.bytes.data()), 20);
  pk.pack(std::string("y"));
  pk.pack(std::string("q"));
  return std::string(1, '\0') + std::string(out.data(), out.size());
}

} // namespace

TEST_CASE("rogue: no certificate") {
  served s;
  s.knock(rogue::no_certificate(), mesh_refusal::no_certificate);
}

TEST_CASE("rogue: a certificate of another CA, of the same domain and name") {
  served s;
  authority other(s.time.wall());
  s.knock(certs::make_credentials(*other.make("b")), mesh_refusal::foreign_ca);
}

TEST_CASE("rogue: a foreign certificate under a CA of the same name, shown with that CA's own") {
  served s;
  authority other(s.time.wall());
  auto mixed = *other.make("b");
  mixed.ca = s.a->identity->ca; // believes in our CA, shows another's
  s.knock(certs::make_credentials(mixed), mesh_refusal::foreign_ca);
}

TEST_CASE("rogue: a certificate for another purpose") {
  served s;
  auto b = *s.ca.make("c");
  b.certificate = test::one_purpose_certificate(s.ca.path(), b, s.time.wall());
  s.knock(certs::make_credentials(b), mesh_refusal::wrong_usage);
}

TEST_CASE("rogue: expired and not yet valid certificates of our own CA") {
  loopback net;
  test::real_clock time;
  test::scratch dir;
  REQUIRE(certs::init_cluster(dir.path(), "example.com", time.wall() - 500 * one_day));
  const auto bundle_at = [&](const std::string& name, unix_ms when) {
    return std::make_shared<certs::bundle>(certs::read_bundle(certs::issue(dir.path(), {.name = name}, when)->path).value());
  };
  const auto a = net.start(bundle_at("a", time.wall()), at("127.0.0.53:0"));
  for (const auto& [name, when, reason] : {std::tuple{"old", time.wall() - 400 * one_day, mesh_refusal::expired},
                                           std::tuple{"new", time.wall() + one_day, mesh_refusal::not_yet_valid}}) {
    rogue r(net.io, certs::make_credentials(*bundle_at(name, when)), a->where());
    const auto before = refused_total(reason);
    r.shake_hands();
    CHECK(net.until([&] { return refused_total(reason) > before && r.is_out(); }));
    CHECK(a->mesh->peers().empty());
  }
}

TEST_CASE("rogue: a revoked node's session ends, and it does not come back") {
  served s;
  const auto before = refused_total(mesh_refusal::revoked);
  s.a->mesh->set_crl(test::revocation_of(s.ca.path(), *s.b->identity, s.time.wall()));
  CHECK_FALSE(s.a->knows(*s.b));
  CHECK(s.until([&] { return !s.b->knows(*s.a); }));
  CHECK(refused_total(mesh_refusal::revoked) == before + 1);
  s.b->mesh->connect(s.a->where());
  CHECK(s.until([&] { return refused_total(mesh_refusal::revoked) >= before + 2; }));
  CHECK_FALSE(s.a->knows(*s.b));
}

TEST_CASE("rogue: as the one that is called, not the one that calls") {
  served s;
  authority other(s.time.wall());
  auto liar = s.start(other.make("z"), at("127.0.0.54:0"));
  const auto before = refused_total(mesh_refusal::foreign_ca);
  s.a->mesh->connect(liar->where());
  CHECK(s.until([&] { return refused_total(mesh_refusal::foreign_ca) > before; }));
  CHECK_FALSE(s.a->knows(*liar));
  CHECK_FALSE(liar->knows(*s.a));
  CHECK(s.serves());
}

TEST_CASE("rogue: plain UDP of every kind") {
  served s;
  rogue r(s.io, rogue::no_certificate(), s.a->where());
  const auto before = refused_total(mesh_refusal::plain);
  const std::string hello_like("\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x05hello", 18);
  for (const std::string& bytes : {std::string("OPTIONS sip:example.com SIP/2.0\r\n\r\n"), std::string(), std::string("\0", 1), std::string(1400, '\xff'), hello_like, hello_like.substr(0, 15)})
    r.send_plain(bytes);
  CHECK(s.until([&] { return refused_total(mesh_refusal::plain) >= before + 5; }));
  CHECK(s.serves());
}

TEST_CASE("rogue: a valid node under a forged DHT id, in query and reply") {
  served s;
  const auto c = s.ca.make("c");
  rogue r(s.io, certs::make_credentials(*c), s.a->where());
  std::vector<std::string> kademlia;
  s.a->mesh->set_kademlia_sink([&](const endpoint&, std::string bytes) { kademlia.push_back(std::move(bytes)); });
  r.shake_hands();
  REQUIRE(s.until([&] { return r.is_in(); }));
  const auto before = refused_total(mesh_refusal::forged_id);
  r.send_record(kademlia_ping(s.b->id(), "a"));
  r.send_record(kademlia_ping(s.b->id(), "r"));
  r.send_record(kademlia_ping(c->id, "a"));
  REQUIRE(s.until([&] { return !kademlia.empty(); }));
  CHECK(s.until([&] { return refused_total(mesh_refusal::forged_id) == before + 2; }));
  CHECK(kademlia.size() == 1);
  CHECK(kademlia[0] == kademlia_ping(c->id, "a").substr(1));
  CHECK(s.serves());
}

TEST_CASE("rogue: an authenticated peer that sends nonsense is not heard, and harms nobody") {
  served s;
  rogue r(s.io, certs::make_credentials(*s.ca.make("c")), s.a->where());
  r.shake_hands();
  REQUIRE(s.until([&] { return r.is_in(); }));
  const auto before = refused_total(mesh_refusal::frame);
  for (const std::string& bytes : {std::string("\x07what", 5), std::string("\x81", 1), std::string("\x81\0\0\0\1\5\2x", 8), std::string("\0not msgpack at all", 19)}) r.send_record(bytes);
  CHECK(s.until([&] { return refused_total(mesh_refusal::frame) >= before + 4; }));
  CHECK(s.serves());
}
