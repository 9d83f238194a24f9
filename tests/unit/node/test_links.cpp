#include "base/metrics.hpp"
#include "node/io/socket_address.hpp"
#include "tests/unit/node/cluster_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <netinet/in.h>
#include <sys/socket.h>

using namespace skald;
using namespace skald::node;
using namespace skald::node::testing;

namespace {

std::int64_t refused(std::string_view reason) {
  for (const auto& s : metrics::collect())
    if (s.name == "skald_links_refused_total" && s.labels.find(reason) != std::string_view::npos) return s.value;
  return -1;
}

// Until the condition holds, or patience ends.
template <class F>
bool eventually(F f) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!f() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return f();
}

} // namespace

TEST_CASE("links: frames reach the other node in order, over one link opened when first needed") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1"), b(c.issue("node2"), where, "127.0.0.2");
  REQUIRE(a.bound);
  for (int i = 0; i < 100; ++i) CHECK(a.send(b.me.id, std::to_string(i)));
  const auto got = b.user.wait_frames(100);
  REQUIRE(got.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(got[static_cast<std::size_t>(i)] == std::to_string(i));
  CHECK(a.user.wait_ups(1) == 1);
  CHECK(b.user.wait_ups(1) == 1);
  CHECK(b.send(a.me.id, "back")); // over the link that is there
  CHECK(a.user.wait_frames(1) == std::vector<std::string>{"back"});
  CHECK(a.user.wait_ups(1) == 1);
  CHECK_FALSE(a.send(node_id{}, "nobody"));
}

TEST_CASE("links: large frames pass, and both ends may call at once") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1"), b(c.issue("node2"), where, "127.0.0.2");
  const std::string big(3 << 20, 'z');
  a.cluster_loop.post([&] { a.hub.send(b.me.id, {dht::frame_type::store_copy, 1, big}); });
  b.cluster_loop.post([&] { b.hub.send(a.me.id, {dht::frame_type::store_copy, 1, big}); });
  CHECK(a.user.wait_frames(1).at(0) == big);
  CHECK(b.user.wait_frames(1).at(0) == big);
}

TEST_CASE("links: a node that stops is reported down, and called again when it is back") {
  cluster c;
  directory where;
  const auto two = c.issue("node2");
  linked_node a(c.issue("node1"), where, "127.0.0.1");
  {
    linked_node b(two, where, "127.0.0.2");
    CHECK(a.send(two.id, "one"));
    CHECK(b.user.wait_frames(1).size() == 1);
  }
  CHECK(a.user.wait_downs(1) == 1);
  a.send(two.id, "lost");
  CHECK(a.user.wait_downs(2) == 2); // what waited for a call that failed is lost, and told
  linked_node again(two, where, "127.0.0.2");
  CHECK(eventually([&] { return a.send(two.id, "two"); }));
  CHECK(again.user.wait_frames(1).back() == "two");
}

TEST_CASE("links: a node that cannot be called for two seconds counts as failing, until it can (consistency.md §7, half dead)") {
  cluster c;
  directory where;
  const auto two = c.issue("node2");
  linked_node a(c.issue("node1"), where, "127.0.0.1");
  {
    linked_node b(two, where, "127.0.0.2");
    CHECK(a.send(two.id, "one"));
    CHECK(b.user.wait_frames(1).size() == 1);
  }
  CHECK(a.user.wait_downs(1) == 1);
  bool failing = true;
  a.on_cluster([&](link_hub& h) { failing = h.failing(two.id); });
  CHECK_FALSE(failing); // nobody has called it yet
  a.send(two.id, "lost");
  CHECK(a.user.wait_downs(2) == 2);
  const auto since = std::chrono::steady_clock::now();
  CHECK(eventually([&] {
    a.on_cluster([&](link_hub& h) {
      h.call_again(two.id);
      failing = h.failing(two.id);
    });
    return failing;
  }));
  CHECK(std::chrono::steady_clock::now() - since > std::chrono::milliseconds(1500));
  linked_node again(two, where, "127.0.0.2");
  CHECK(eventually([&] {
    a.on_cluster([&](link_hub& h) {
      h.call_again(two.id);
      failing = h.failing(two.id);
    });
    return !failing;
  }));
}

TEST_CASE("links: a call that hangs counts from its beginning: a black hole is failing within two seconds, and not before") {
  cluster c;
  directory where;
  const auto two = c.issue("node2");
  linked_node a(c.issue("node1"), where, "127.0.0.1");
  sockaddr_in at{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(0x7f000002)}, .sin_zero = {}};
  const owned_fd silent(::socket(AF_INET, SOCK_STREAM, 0)); // takes connections, and says nothing
  REQUIRE(::bind(silent.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  socklen_t size = sizeof at;
  ::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&at), &size);
  REQUIRE(::listen(silent.get(), 5) == 0);
  where.put(two.id, {*ip_address::parse("127.0.0.2"), ntohs(at.sin_port)});
  const auto began = std::chrono::steady_clock::now();
  CHECK(a.send(two.id, "one"));
  bool failing = false;
  CHECK(eventually([&] {
    a.on_cluster([&](link_hub& h) { failing = h.failing(two.id); });
    return failing;
  }));
  const auto took = std::chrono::steady_clock::now() - began;
  CHECK(took >= link_failing_after);
  CHECK(took < stream_open_time); // else it waited for the end of the call
}

TEST_CASE("links: a queue over its limit refuses, and the link lives on") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1"), b(c.issue("node2"), where, "127.0.0.2");
  int taken = 0;
  a.on_cluster([&](link_hub& h) {
    while (taken < 100 && h.send(b.me.id, {dht::frame_type::store_copy, 1, std::string(1 << 20, 'q')})) ++taken;
  });
  CHECK(taken >= 7);
  CHECK(taken <= 8);
  CHECK(b.user.wait_frames(static_cast<std::size_t>(taken)).size() == static_cast<std::size_t>(taken));
  CHECK(a.send(b.me.id, "small"));
}

TEST_CASE("links: a sip/2 link becomes a flow of a worker, with the peer that its certificate names") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1", 2), b(c.issue("node2"), where, "127.0.0.2", 2);
  const auto f = a.sip.open_link(1, b.me.id);
  REQUIRE(f.has_value());
  CHECK(f->transport == sip::transport::link);
  CHECK(a.sip.open_link(1, b.me.id) == f);
  for (int i = 0; i < 3; ++i)
    CHECK(a.sip.on(1, [&](worker& w) { return w.send(*f, request("MESSAGE", "z9hG4bKl" + std::to_string(i), "TLS")); }));
  const auto answers = a.sip.users[1]->wait_messages(3);
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].status == 200);
  CHECK(answers[0].from.peer == b.me.id);
  const auto& user = b.sip.users[b.sip.users[0]->wait_messages(0).empty() ? 1 : 0];
  const auto seen = user->wait_messages(3);
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].from.from_link());
  CHECK(seen[0].from.peer == a.me.id);
}

TEST_CASE("links: no certificate, another CA's, and another node's are refused and counted") {
  cluster ours, theirs;
  directory where;
  linked_node a(ours.issue("node1"), where, "127.0.0.1");
  const auto naked_before = refused("no_certificate"), foreign_before = refused("wrong_authority"),
             plain_before = refused("handshake"), wrong_before = refused("wrong_node");

  peer_socket plain(SOCK_STREAM, a.links());
  plain.send("OPTIONS sip:example.com SIP/2.0\r\n\r\n");
  plain.receive();
  CHECK(eventually([&] { return refused("handshake") > plain_before; }));

  linked_node rogue(theirs.issue("node2"), where, "127.0.0.3");
  rogue.sip.group.streams.verify_peer = [&](const auto&) { return link_peer{a.me.id, "node1"}; };
  CHECK(rogue.send(a.me.id, "let me in"));
  CHECK(eventually([&] { return refused("wrong_authority") > foreign_before; }));
  CHECK(rogue.user.wait_downs(1) == 1);
  CHECK(rogue.user.wait_ups(0) == 0);

  linked_node nameless(ours.issue("node3"), where, "127.0.0.4");
  nameless.sip.group.streams.links.set(*tls_credentials::make({}, {}, false));
  CHECK(nameless.send(a.me.id, "let me in"));
  CHECK(eventually([&] { return refused("no_certificate") > naked_before; }));

  const auto absent = ours.issue("node4");
  where.put(absent.id, a.links()); // the directory lies
  CHECK_FALSE(a.sip.open_link(0, absent.id).has_value());
  CHECK(refused("wrong_node") > wrong_before);
  CHECK(a.user.wait_frames(0).empty());
}

TEST_CASE("links: who is no longer accepted is cut off at the next check") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1"), b(c.issue("node2"), where, "127.0.0.2");
  CHECK(a.send(b.me.id, "x"));
  CHECK(b.user.wait_frames(1).size() == 1);
  b.on_cluster([&](link_hub& h) {
    b.trust.set({.ca = b.me.ca, .domain = "elsewhere.example", .crl = {}});
    h.recheck();
  });
  CHECK(a.user.wait_downs(1) == 1);
  CHECK(b.user.wait_downs(1) == 1);
}

TEST_CASE("links: a worker's sip/2 link ends when its peer is no longer accepted, and that is a flow gone") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1"), b(c.issue("node2"), where, "127.0.0.2");
  const auto f = a.sip.open_link(0, b.me.id);
  REQUIRE(f.has_value());
  a.trust.set({.ca = a.me.ca, .domain = "elsewhere.example", .crl = {}});
  a.sip.all[0]->recheck_links();
  const auto gone = a.sip.users[0]->wait_gone(1);
  REQUIRE(gone.size() == 1);
  CHECK(gone[0] == *f);
  CHECK_FALSE(a.sip.open_link(0, b.me.id).has_value());
}

TEST_CASE("links: those with a node that the view holds for dead end at once, and the next use opens a new one") {
  cluster c;
  directory where;
  linked_node a(c.issue("node1"), where, "127.0.0.1"), b(c.issue("node2"), where, "127.0.0.2");
  const auto f = a.sip.open_link(0, b.me.id);
  REQUIRE(f.has_value());
  a.sip.all[0]->drop_links(b.me.id);
  const auto gone = a.sip.users[0]->wait_gone(1);
  REQUIRE(gone.size() == 1);
  CHECK(gone[0] == *f);
  const auto again = a.sip.open_link(0, b.me.id);
  REQUIRE(again.has_value());
  CHECK(again->serial != f->serial);
  CHECK(b.sip.users[0]->wait_gone(1).size() == 1); // the far end hears of it
}
