#include "tests/unit/node/cluster_fixture.hpp"

#include "certs/pem.hpp"
#include "tests/unit/certs/outside_ca.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::node;
using namespace skald::node::testing;

namespace {

// Two engines mouth to mouth, in pieces of `piece` bytes, until neither has anything to say.
void talk(tls_engine& a, tls_engine& b, std::string& to_a, std::string& to_b, std::size_t piece = 100'000) {
  const auto carry = [&](tls_engine& from, tls_engine& to, std::string& plain) {
    std::string bytes;
    bytes.swap(from.output());
    for (std::size_t i = 0; i < bytes.size(); i += piece) to.feed(std::string_view(bytes).substr(i, piece), plain);
    return !bytes.empty();
  };
  a.start();
  while (carry(a, b, to_b) | carry(b, a, to_a)) {}
}

struct pair {
  std::unique_ptr<tls_engine> client, server;
  std::string at_client, at_server;
  pair(const tls_credentials_ptr& c, tls_options co, const tls_credentials_ptr& s, tls_options so)
      : client(std::make_unique<tls_engine>(c, std::move(co))), server(std::make_unique<tls_engine>(s, std::move(so))) {}
  void talk(std::size_t piece = 100'000) { ::talk(*client, *server, at_client, at_server, piece); }
};

constexpr tls_end server_end = tls_end::server;

} // namespace

TEST_CASE("tls engine: handshake, SNI and bytes both ways, however the records are cut") {
  cluster c;
  const auto b = c.issue("node1");
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{1000}, std::size_t{100'000}}) {
    pair p(*outbound_credentials(b), {.name = "node1.example.com"}, *phone_credentials(b, {}), {.end = server_end});
    p.talk(piece);
    REQUIRE(p.client->state() == tls_state::open);
    REQUIRE(p.server->state() == tls_state::open);
    CHECK(p.server->server_name() == "node1.example.com");
    const std::string big(50'000, 'x');
    CHECK(p.client->write(big));
    CHECK(p.server->write("answer"));
    p.talk(piece);
    CHECK(p.at_server == big);
    CHECK(p.at_client == "answer");
    p.client->close();
    p.talk(piece);
    CHECK(p.server->state() == tls_state::closed);
  }
}

TEST_CASE("tls engine: a client refuses another CA's server, and a certificate that names somebody else") {
  cluster ours, theirs;
  const auto a = ours.issue("node1"), b = theirs.issue("node1");
  pair foreign(*outbound_credentials(a), {.name = "example.com"}, *phone_credentials(b, {}), {.end = server_end});
  foreign.talk();
  CHECK(foreign.client->state() == tls_state::failed);
  CHECK_FALSE(foreign.client->failure().empty());
  CHECK(foreign.server->state() == tls_state::failed);

  pair misnamed(*outbound_credentials(a), {.name = "other.example.net"}, *phone_credentials(a, {}), {.end = server_end});
  misnamed.talk();
  CHECK(misnamed.client->state() == tls_state::failed);
  CHECK(misnamed.client->failure() == "the certificate does not name other.example.net");
}

TEST_CASE("tls engine: the server chooses its certificate by the name the phone asks for") {
  cluster first("example.com"), second("example.org");
  const auto a = first.issue("node1"), b = second.issue("node1");
  const auto both = *tls_credentials::make({{certs::pem_encode("CERTIFICATE", a.certificate), certs::pem_encode("PRIVATE KEY", a.key)},
                                            {certs::pem_encode("CERTIFICATE", b.certificate), certs::pem_encode("PRIVATE KEY", b.key)}},
                                           {}, false);
  for (const auto* who : {&a, &b}) {
    pair p(*outbound_credentials(*who), {.name = who->domain}, both, {.end = server_end});
    p.talk();
    CHECK(p.client->state() == tls_state::open);
    CHECK(p.client->peer_chain().at(0) == who->certificate);
  }
}

TEST_CASE("tls engine: links need TLS 1.3, a certificate of both, and a common protocol") {
  cluster c;
  const auto a = *link_credentials(c.issue("node1")), b = *link_credentials(c.issue("node2"));
  const tls_options store{.use = tls_use::link, .alpn = {"skald/1"}};
  const tls_options server{.end = server_end, .use = tls_use::link, .alpn = {"skald/1", "sip/2"}};
  pair good(a, store, b, server);
  good.talk();
  CHECK(good.client->state() == tls_state::open);
  CHECK(good.server->alpn() == "skald/1");
  CHECK(good.server->peer_chain().size() >= 1);
  CHECK(good.client->peer_chain().size() >= 1);

  pair naked(*tls_credentials::make({}, {}, false), store, b, server);
  naked.talk();
  CHECK(naked.server->state() == tls_state::failed);
  CHECK(naked.server->peer_without_certificate());

  pair stranger(a, {.use = tls_use::link, .alpn = {"http/1.1"}}, b, server);
  stranger.talk();
  CHECK(stranger.server->state() == tls_state::failed);
}

TEST_CASE("tls engine: the SIPS server asks for a certificate, and takes none, or any; the caller sees what was shown") {
  cluster c;
  const auto server = *phone_credentials(c.issue("node1"), {});
  const auto trust = certs::pem_encode("CERTIFICATE", c.issue("node2").ca);
  const test::outside_ca outside;
  const auto shown = [&](std::vector<tls_identity> identities) {
    pair p(*tls_credentials::make(identities, trust, false), {.name = "example.com"}, server, {.end = server_end});
    p.talk();
    CHECK(p.client->state() == tls_state::open);
    CHECK(p.server->state() == tls_state::open);
    CHECK(p.client->write("hello"));
    p.talk();
    CHECK(p.at_server == "hello");
    return p.server->peer_chain();
  };
  CHECK(shown({}).empty());
  const auto good = outside.issue({.dns = {"gw.example.org"}});
  CHECK(shown({{good.chain_pem(), good.key_pem()}}).at(0) == good.der);
  const auto old = outside.issue({.dns = {"gw.example.org"}, .until_s = -60});
  CHECK(shown({{old.chain_pem(), old.key_pem()}}).at(0) == old.der);
  const auto odd = outside.issue({.purposes = {GNUTLS_KP_EMAIL_PROTECTION}});
  CHECK(shown({{odd.chain_pem(), odd.key_pem()}}).at(0) == odd.der);
}

TEST_CASE("tls engine: towards a trusted peer the peers' CAs decide, and RFC 5922 §7 whom the certificate names") {
  cluster c;
  const auto node = c.issue("node1");
  const test::outside_ca outside;
  const auto peers = *certs::sip_anchors::make(outside.pem(), node.ca);
  const auto outcome_of = [&](const test::certificate_wish& w, const std::string& name, const certs::sip_anchors_ptr& anchors) {
    const auto crt = outside.issue(w);
    pair p(*outbound_credentials(node), {.name = name, .peers = anchors}, *tls_credentials::make({{crt.chain_pem(), crt.key_pem()}}, {}, false), {.end = server_end});
    p.talk();
    return p.client->state() == tls_state::open ? std::string("open") : std::string(p.client->failure());
  };
  CHECK(outcome_of({.dns = {"gw.example.org"}}, "GW.example.org", peers) == "open");
  CHECK(outcome_of({.dns = {"gw.example.org"}}, "gw.example.org", nullptr) != "open"); // not by CAs of the peers alone
  CHECK(outcome_of({.uris = {"sip:example.org"}}, "example.org", peers) == "open");
  CHECK(outcome_of({.dns = {"*.example.org"}}, "gw.example.org", peers).find("names no SIP domain") != std::string::npos);
  CHECK(outcome_of({.uris = {"sip:example.org"}, .dns = {"gw.example.org"}}, "gw.example.org", peers) == "the certificate does not name gw.example.org");
  CHECK(outcome_of({.dns = {"gw.example.org"}, .until_s = -60}, "gw.example.org", peers).find("expired") != std::string::npos);
  CHECK(outcome_of({.dns = {"gw.example.org"}, .purposes = {GNUTLS_KP_TLS_WWW_CLIENT}}, "gw.example.org", peers).find("usage") != std::string::npos);
}

TEST_CASE("tls engine: garbage fails, and does not hang") {
  cluster c;
  tls_engine server(*phone_credentials(c.issue("node1"), {}), {.end = server_end});
  std::string plain;
  CHECK(server.feed("REGISTER sip:example.com SIP/2.0\r\n\r\n", plain) == tls_state::failed);
  CHECK(plain.empty());
}

TEST_CASE("tls: a phone's flow over the SIPS port carries its SNI, and new certificates serve new handshakes only") {
  cluster c;
  directory where;
  linked_node server(c.issue("node1"), where, "127.0.0.1"), phone(c.issue("node2"), where, "127.0.0.2");
  REQUIRE(server.bound);
  const auto f = phone.sip.open(0, {sip::transport::tls, server.sip.sips(), "example.com"});
  REQUIRE(f.has_value());
  CHECK(phone.sip.on(0, [&](worker& w) { return w.send(*f, request("OPTIONS", "z9hG4bKtls", "TLS")); }));
  const auto seen = server.sip.users[0]->wait_messages(1);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].from.sni == "example.com");
  CHECK(seen[0].from.flow.transport == sip::transport::tls);
  CHECK(phone.sip.users[0]->wait_messages(1).at(0).status == 200);

  cluster other;
  server.sip.group.streams.phones.set(*phone_credentials(other.issue("node1"), {}));
  CHECK_FALSE(phone.sip.open(0, {sip::transport::tls, server.sip.sips(), "node1.example.com"}).has_value());
  CHECK(phone.sip.on(0, [&](worker& w) { return w.send(*f, request("OPTIONS", "z9hG4bKold", "TLS")); }));
  CHECK(server.sip.users[0]->wait_messages(2).size() == 2);
}

namespace {

// A node of ours that believes an outside CA about peers, and gateways with this or that certificate.
struct peering {
  cluster c;
  directory where;
  test::outside_ca outside;
  certs::bundle us = c.issue("node1"), other = c.issue("node2");
  linked_node server{us, where, "127.0.0.1"};
  peering() { server.sip.group.streams.peers = *certs::sip_anchors::make(outside.pem(), us.ca); }

  tls_identity identity(const test::certificate_wish& w) const {
    const auto crt = outside.issue(w);
    return {crt.chain_pem(), crt.key_pem()};
  }
  std::unique_ptr<linked_node> gateway(const tls_identity& id) {
    auto out = std::make_unique<linked_node>(other, where, "127.0.0.2");
    out->sip.group.streams.outbound.set(*tls_credentials::make({id}, certs::pem_encode("CERTIFICATE", us.ca), false));
    out->sip.group.streams.phones.set(*tls_credentials::make({id}, {}, false));
    return out;
  }
  // What we know of who sent a request over that flow of `from`'s.
  std::vector<std::string> known_of(linked_node& from, const sip::flow& over) {
    CHECK(from.sip.on(0, [&](worker& w) { return w.send(over, request("MESSAGE", "z9hG4bKknown" + std::to_string(seen_), "TLS")); }));
    while (true) { // answers are seen too
      const auto all = server.sip.users[0]->wait_messages(++seen_);
      REQUIRE(all.size() >= seen_);
      if (all[seen_ - 1].method != "MESSAGE" || all[seen_ - 1].status != 0) continue;
      const auto& who = all[seen_ - 1].from.certified;
      return who ? who->names : std::vector<std::string>{};
    }
  }
  std::size_t seen_ = 0;
};

using names = std::vector<std::string>;

} // namespace

TEST_CASE("tls: what a peer that connects proved of itself stands with its requests; what it did not, ends nothing (RFC 5922 §7)") {
  peering p;
  const auto known_as = [&](const tls_identity& id) {
    const auto gateway = p.gateway(id);
    const auto f = gateway->sip.open(0, {sip::transport::tls, p.server.sip.sips(), "example.com"});
    REQUIRE(f.has_value());
    return p.known_of(*gateway, *f);
  };
  CHECK(known_as(p.identity({.uris = {"sip:example.org"}})) == names{"example.org"});
  CHECK(known_as(p.identity({.uris = {"sip:example.org"}, .until_s = -1})).empty());
  CHECK(known_as({certs::pem_encode("CERTIFICATE", p.other.certificate), certs::pem_encode("PRIVATE KEY", p.other.key)}).empty());
}

TEST_CASE("tls: a connection that we opened to a trusted peer's name knows the peer; to any other server it does not") {
  peering p;
  const auto gateway = p.gateway(p.identity({.dns = {"gw.example.org"}}));
  const auto open_to = [&](const char* name, bool trusted) {
    return p.server.sip.open(0, {sip::transport::tls, gateway->sip.sips(), name, trusted});
  };
  const auto f = open_to("gw.example.org", true);
  REQUIRE(f.has_value());
  CHECK(p.server.sip.on(0, [&](worker& w) { return w.send(*f, request("OPTIONS", "z9hG4bKout", "TLS")); }));
  const auto there = gateway->sip.users[0]->wait_messages(1);
  REQUIRE(there.size() == 1);
  CHECK(p.known_of(*gateway, there[0].from.flow) == names{"gw.example.org"});
  CHECK_FALSE(open_to("other.example.org", true).has_value());
  CHECK_FALSE(open_to("gw.example.org", false).has_value()); // by a CA of the peers, for a server that is no peer
}
