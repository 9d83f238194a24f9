// The SIP stack of one worker, whole, without its I/O: what is kept, what is turned away, what is not let in.
#include "dht/ring/ring.hpp"
#include "node/worker/sip_stack.hpp"
#include "sip/message/stamp_via.hpp"
#include "tests/unit/registrar/bench.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

using namespace skald;
using namespace skald::node;
namespace bench = skald::roles::bench;

namespace {

struct no_dns final : sip::dns_port {
  void query(std::string, sip::dns_type, callback done) override { done({}); }
};

// What leaves, by status; a request counts as 0.
struct sent_messages final : sip::message_sender {
  std::vector<sip::message> all;
  bool send(const sip::flow&, std::string_view bytes) override {
    all.push_back(*sip::message::parse(std::string(bytes)));
    return true;
  }
  std::vector<int> take() {
    std::vector<int> out;
    for (const sip::message& m : all) out.push_back(m.is_request() ? 0 : m.status());
    all.clear();
    return out;
  }
};

// Keeps what comes while it is full.
struct keeping final : request_keeper {
  bool full = false;
  std::vector<std::pair<sip::message, sip::arrival>> kept;
  bool at_once(roles::urgency, const sip::arrival&) override { return !full; }
  void keep(roles::urgency, sip::message m, const sip::arrival& from) override { kept.emplace_back(std::move(m), from); }
};

// A node alone in its cluster, so it owns every subscriber.
struct lonely_node {
  lonely_node() {
    auto view = std::make_shared<dht::view>();
    view->self = bench::node(1);
    dht::member m;
    m.id = view->self;
    m.life = 1;
    m.state = dht::member_state::active;
    m.body.version = 1;
    m.body.name = "node1";
    m.body.addresses = {local.ip};
    m.body.roles.bits = 0xffff;
    view->members = {m};
    auto facts = std::make_shared<roles::cluster_facts>();
    facts->registrars = dht::ring::build(dht::serving_members(*view, dht::role::registrar));
    facts->view = view;
    facts->keys = std::make_shared<key_ring>(std::vector{cluster_key{7, 0, std::string(32, 'k')}});
    facts->config = std::make_shared<roles::settings>(roles::read_settings("example.com", {}));
    facts->serving = true;
    cluster.now = facts;
    stack.core().set_siblings({&stack.core()});
    stack.set_keeper(keeper);
  }
  sip::arrival from(std::string_view remote) const {
    return {.flow = {.transport = sip::transport::udp, .local = local, .remote = *endpoint::parse(remote)}, .at = clock.now()};
  }
  // As a datagram from there.
  void receive(std::string text, std::string_view remote) {
    const sip::arrival a = from(remote);
    auto m = sip::message::parse(std::move(text));
    REQUIRE(m.has_value());
    REQUIRE(sip::stamp_top_via(*m, a.flow.remote));
    stack.receive(std::move(*m), a);
  }
  void turn_away(std::string text, std::string_view remote, roles::urgency u, roles::fate how) {
    stack.turn_away(std::move(text), from(remote), u, how);
  }
  void set_facts(const std::function<void(roles::cluster_facts&)>& change) {
    auto facts = std::make_shared<roles::cluster_facts>(*cluster.now);
    change(*facts);
    cluster.now = facts;
  }

  endpoint local = *endpoint::parse("198.51.100.1:5060");
  bench::fake_cluster cluster;
  bench::fake_flows flows;
  sent_messages sent;
  keeping keeper;
  manual_clock clock;
  scheduler timers;
  seeded_rng random{42};
  no_dns dns;
  roles::replay_memory replays;
  roles::edge_state edge;
  sip_stack stack{{0, clock, timers, random, cluster, flows, sent, dns, replays, edge}};
};

std::string request(std::string_view method, std::string_view uri, std::string_view branch, std::string_view from = "sip:alice@example.com") {
  const std::string m(method);
  return m + " " + std::string(uri) + " SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK" + std::string(branch) +
         ";rport\r\nMax-Forwards: 70\r\nFrom: <" + std::string(from) + ">;tag=1\r\nTo: <" + std::string(uri) + ">\r\nCall-ID: " + std::string(branch) +
         "@test\r\nCSeq: 1 " + m + "\r\nContact: <sip:alice@192.0.2.9>\r\nContent-Length: 0\r\n\r\n";
}

constexpr std::string_view phone = "192.0.2.9:5060";

// A call and its repetition, which stand in the line together.
std::string in_line_twice(lonely_node& n) {
  std::string invite = request("INVITE", "sip:bob@example.com", "one");
  n.keeper.full = true;
  n.receive(invite, phone);
  n.receive(invite, phone);
  REQUIRE(n.keeper.kept.size() == 2);
  return invite;
}

} // namespace

TEST_CASE("stack: a repetition that waited too long is answered by its transaction, not by a 503 after the final answer") {
  lonely_node n;
  in_line_twice(n);
  CHECK(n.sent.take().empty());
  n.stack.take(n.keeper.kept[0].first, n.keeper.kept[0].second);
  const auto answers = n.sent.take();
  REQUIRE_FALSE(answers.empty());
  CHECK(answers.back() == 407);
  const auto& [again, at] = n.keeper.kept[1];
  for (const roles::fate how : {roles::fate::refuse, roles::fate::drop}) {
    n.stack.turn_away(again, at, roles::urgency::call, how);
    CHECK(n.sent.take() == std::vector{407}); // RFC 3261 §17.2.1: the transaction's answer, again
  }
  // One that was never taken has no transaction.
  n.turn_away(request("INVITE", "sip:bob@example.com", "two"), phone, roles::urgency::call, roles::fate::refuse);
  CHECK(n.sent.take() == std::vector{503});
  n.turn_away(request("INVITE", "sip:bob@example.com", "three"), phone, roles::urgency::call, roles::fate::drop);
  CHECK(n.sent.take().empty());
}

TEST_CASE("stack: a repetition of what was refused is refused again, however much room there is then") {
  lonely_node n;
  const std::string invite = in_line_twice(n);
  n.stack.turn_away(n.keeper.kept[0].first, n.keeper.kept[0].second, roles::urgency::call, roles::fate::refuse);
  CHECK(n.sent.take() == std::vector{503});
  n.stack.take(n.keeper.kept[1].first, n.keeper.kept[1].second);
  CHECK(n.sent.take() == std::vector{503});
  n.keeper.full = false;
  n.receive(invite, phone);
  CHECK(n.sent.take() == std::vector{503});
  n.receive(request("INVITE", "sip:bob@example.com", "two"), phone); // the next try is another request
  CHECK(n.sent.take().back() == 407);
  n.clock.advance(seconds(70));
  n.receive(invite, phone); // nobody sends the first one again by now
  CHECK(n.sent.take().back() == 407);
}

TEST_CASE("stack: a repetition of what is under way does not wait again") {
  lonely_node n;
  const std::string invite = request("INVITE", "sip:bob@example.com", "one");
  n.receive(invite, phone);
  n.sent.take();
  n.keeper.full = true;
  n.receive(invite, phone);
  CHECK(n.keeper.kept.empty());
  CHECK(n.sent.take() == std::vector{407});
}

TEST_CASE("stack: while calls wait, requests in a dialog and emergency calls do not") {
  lonely_node n;
  n.keeper.full = true;
  n.receive(request("INVITE", "sip:bob@example.com", "call"), phone);
  CHECK(n.keeper.kept.size() == 1);
  CHECK(n.sent.take().empty());
  n.receive(request("INVITE", "sip:112@example.com", "sos"), phone);
  CHECK_FALSE(n.sent.take().empty());
  n.receive(request("INVITE", "urn:service:sos", "urn"), phone);
  CHECK_FALSE(n.sent.take().empty());
  std::string bye = request("BYE", "sip:bob@192.0.2.20", "bye");
  bye.replace(bye.find("To: <sip:bob@192.0.2.20>"), 24, "To: <sip:bob@192.0.2.20>;tag=2");
  n.receive(bye, phone);
  CHECK(n.sent.take() == std::vector{481}); // nobody knows that dialog
  CHECK(n.keeper.kept.size() == 1);
}

namespace {

constexpr std::size_t borne = roles::misses_at_once + 1;

// A MESSAGE to somebody new each time.
void ask(lonely_node& n, std::string_view remote, std::string_view uri = {}, std::string_view more = {}) {
  static int count = 0;
  const std::string to = uri.empty() ? "sip:nobody" + std::to_string(++count) + "@example.com" : std::string(uri);
  std::string m = request("MESSAGE", to, "scan" + std::to_string(++count), "sip:eve@elsewhere.net");
  m.insert(m.find("Max-Forwards"), more);
  n.receive(std::move(m), remote);
}

} // namespace

TEST_CASE("stack: who asks for too many that do not exist is not heard, but for emergency calls; others are") {
  lonely_node n;
  const char* const eve = "203.0.113.66:5060";
  for (std::size_t i = 0; i < borne; ++i) ask(n, eve);
  CHECK(n.sent.take() == std::vector<int>(borne, 404));
  for (int i = 0; i < 5; ++i) ask(n, eve);
  ask(n, "203.0.113.66:7000"); // another port is the same source
  CHECK(n.sent.take().empty());
  ask(n, "203.0.113.67:5060");
  CHECK(n.sent.take() == std::vector{404});
  n.receive(request("INVITE", "sip:112@example.com", "sos"), eve);
  CHECK_FALSE(n.sent.take().empty());
  // A subscriber's phone behind the same address, and one more question after a pause.
  const sip::arrival known = n.from("203.0.113.66:6000");
  REQUIRE(n.edge.flows.learn(known.flow, "sip:bob@example.com", 1, n.clock.now() + seconds(60)));
  ask(n, "203.0.113.66:6000");
  CHECK(n.sent.take() == std::vector{407});
  n.clock.advance(roles::miss_pause);
  ask(n, eve);
  ask(n, eve);
  CHECK(n.sent.take() == std::vector{404});
}

TEST_CASE("stack: refusals and credentials of elsewhere are misses too, and an IPv6 /64 is one source") {
  for (const char* const way : {"refused", "credentials", "ipv6"}) {
    lonely_node n;
    for (std::size_t i = 0; i < borne + 3; ++i) {
      if (std::string_view(way) == "refused") ask(n, "203.0.113.66:5060", "sip:x@third.net"); // from outside for outside
      else if (std::string_view(way) == "ipv6") ask(n, "[2001:db8:0:7::" + std::to_string(1 + i) + "]:5060");
      else ask(n, "203.0.113.66:5060", {}, "Proxy-Authorization: Digest username=\"eve\", realm=\"elsewhere.net\"\r\n");
    }
    CHECK_MESSAGE(n.sent.take().size() == borne, way);
  }
}

TEST_CASE("stack: a trusted peer may ask for as many as it likes") {
  lonely_node n;
  n.set_facts([](roles::cluster_facts& f) { f.config = std::make_shared<roles::settings>(roles::read_settings("example.com", {{"peers", "203.0.113.66"}})); });
  for (std::size_t i = 0; i < borne + 50; ++i) ask(n, "203.0.113.66:5060");
  CHECK(n.sent.take() == std::vector<int>(borne + 50, 404));
}

TEST_CASE("scan limit: as many sources are watched as there is place for; those that are forgiven give way") {
  roles::scan_limit scans;
  const mono_time t{seconds(1000)};
  const auto host = [](std::size_t n) { return *ip_address::parse("2001:db8:" + std::to_string(n / 10'000) + ":" + std::to_string(n % 10'000) + "::1"); };
  for (std::size_t i = 0; i < roles::scan_sources_max + 10'000; ++i) scans.miss(host(i), t);
  CHECK(scans.size() <= roles::scan_sources_max);
  CHECK(scans.size() > roles::scan_sources_max / 10 * 9);
  const ip_address late = host(90'000);
  for (std::size_t i = 0; i < borne; ++i) scans.miss(late, t + seconds(1));
  CHECK(scans.over(late, t + seconds(1)));
  CHECK(scans.size() < roles::scan_sources_max);
}
