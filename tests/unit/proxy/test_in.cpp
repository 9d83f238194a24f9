#include "cluster.hpp"

#include "roles/core/subscriber.hpp"

#include "roles/proxy/best_response.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

struct in_bench {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  phone& carol = c.add_stranger("carol", "203.0.113.9:5060");
  in_bench() {
    alice.register_at(n);
    bob.register_at(n);
  }
  int ask(phone& p, std::string_view method, std::string_view uri, const phone::call_options& o = {}) {
    p.clear();
    p.request(n, method, uri, o);
    const auto all = p.statuses();
    return all.empty() ? 0 : all.back();
  }
};

} // namespace

TEST_CASE("in: what it answers by itself (sip.md §1)") {
  in_bench t;
  CHECK(t.ask(t.carol, "OPTIONS", "sip:example.com") == 200);
  CHECK(t.carol.inbox.back().has(sip::header::allow));
  CHECK(t.ask(t.carol, "OPTIONS", "sip:n1.example.com", {.max_forwards = 0}) == 200);
  CHECK(t.ask(t.carol, "OPTIONS", "sip:10.0.0.1", {.max_forwards = 0}) == 200);
  CHECK(t.ask(t.carol, "MESSAGE", "sip:example.com") == 404);
  CHECK(t.ask(t.carol, "MESSAGE", "sip:bob@example.com", {.max_forwards = 0}) == 483);
  CHECK(t.ask(t.carol, "MESSAGE", "sip:bob@example.com", {.more = "Proxy-Require: levitation\r\n"}) == 420);
  CHECK(header_of(t.carol.inbox.back(), sip::header::unsupported) == "levitation");
  CHECK(t.ask(t.carol, "MESSAGE", "mailto:bob@example.com", {.to = "<sip:bob@example.com>"}) == 416);
  CHECK(t.ask(t.carol, "NOTIFY", "sip:bob@example.com") == 481);
  CHECK(t.ask(t.carol, "SUBSCRIBE", "sip:bob@example.com", {.more = "Event: nonsense\r\n"}) == 489);
  CHECK(t.ask(t.carol, "PUBLISH", "sip:bob@example.com", {.more = "Event: nonsense\r\n"}) == 489);
}

TEST_CASE("in: Require is the callee's business, unknown methods go the way of MESSAGE") {
  in_bench t;
  t.carol.request(t.n, "LEVITATE", "sip:bob@example.com", {.more = "Require: feather\r\n"});
  const auto m = t.bob.take_request("LEVITATE");
  REQUIRE_MESSAGE(m, t.c.trace);
  t.bob.respond(*m, 420);
  t.c.settle();
  CHECK(t.carol.take_response(420));
}

TEST_CASE("in: Max-Forwards absent is 70; in and term take one each") {
  in_bench t;
  t.carol.request(t.n, "MESSAGE", "sip:bob@example.com", {.max_forwards = -1});
  const auto m = t.bob.take_request("MESSAGE");
  REQUIRE(m);
  CHECK(header_of(*m, sip::header::max_forwards) == "68");
  CHECK(t.ask(t.carol, "MESSAGE", "sip:bob@example.com", {.max_forwards = 1}) == 483);
}

TEST_CASE("in: tel: is a number of the default domain; a node's name and address stand for it too") {
  in_bench t;
  phone& number = t.c.add_phone("+15551234", "192.0.2.7:5062");
  number.register_at(t.n);
  t.alice.request(t.n, "MESSAGE", "tel:+1-555-1234");
  CHECK_MESSAGE(number.count("MESSAGE") == 1, t.c.trace);
  t.alice.request(t.n, "MESSAGE", "sip:bob@n1.example.com");
  CHECK(t.bob.count("MESSAGE") == 1);
  t.alice.request(t.n, "MESSAGE", "sip:bob@10.0.0.1");
  CHECK(t.bob.count("MESSAGE") == 2);
}

TEST_CASE("in: a node that does not serve yet answers OPTIONS, all else out of a dialog is 503") {
  in_bench t;
  t.c.set_facts([](cluster_facts& f) { f.serving = false; });
  CHECK(t.ask(t.carol, "OPTIONS", "sip:example.com") == 200);
  CHECK(t.ask(t.carol, "MESSAGE", "sip:bob@example.com") == 503);
  CHECK(t.carol.inbox.back().has(sip::header::retry_after));
}

TEST_CASE("in: a request that comes back as it was is a loop; with another Request-URI it is a spiral (RFC 5393)") {
  in_bench t;
  phone& server = t.c.add_stranger("server", "203.0.113.20:5060");
  t.c.dns["elsewhere.net"] = {{sip::transport::udp, server.address, {}}};
  t.alice.request(t.n, "MESSAGE", "sip:dan@elsewhere.net");
  const auto out = server.take_request("MESSAGE");
  REQUIRE_MESSAGE(out, t.c.trace);
  // The foreign server sends it back to us.
  const auto send_back = [&](std::string_view uri) {
    sip::message back = *out;
    back.set_request_uri(uri);
    back.prepend(sip::header::via, "SIP/2.0/UDP 203.0.113.20:5060;branch=z9hG4bKback" + std::to_string(uri.size()));
    server.send_text(t.n, back.serialize());
    t.c.settle();
  };
  send_back("sip:dan@elsewhere.net");
  CHECK_MESSAGE(server.take_response(482), t.c.trace);
  send_back("sip:bob@example.com");
  CHECK(t.bob.count("MESSAGE") + server.statuses().size() > 0);
  CHECK_FALSE(server.take_response(482));
}

TEST_CASE("in: a call of ours that a foreign server forwards back has passed orig: no second challenge") {
  in_bench t;
  phone& server = t.c.add_stranger("server", "203.0.113.20:5060");
  t.c.dns["elsewhere.net"] = {{sip::transport::udp, server.address, {}}};
  t.alice.request(t.n, "INVITE", "sip:dan@elsewhere.net");
  auto out = server.take_request("INVITE");
  REQUIRE(out);
  out->set_request_uri("sip:bob@example.com");
  out->prepend(sip::header::via, "SIP/2.0/UDP 203.0.113.20:5060;branch=z9hG4bKback");
  server.send_text(t.n, out->serialize());
  t.c.settle();
  CHECK_MESSAGE(t.bob.count("INVITE") == 1, t.c.trace);
}

TEST_CASE("in: two phones on one flow, and a call to oneself") {
  in_bench t;
  // A second account on Alice's phone: same address.
  phone& other = t.alice;
  t.c.store.keep(dht::table::subscribers, dht::key_of_aor("sip:anna@example.com"),
                 {put_subscriber(make_subscriber("sip:anna@example.com", "secret", 1000))});
  other.user = "anna";
  other.register_at(t.n);
  other.user = "alice";
  t.alice.request(t.n, "INVITE", "sip:anna@example.com");
  const auto invite = t.alice.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(invite->request_uri() == "sip:anna@192.0.2.1:5062");
  t.alice.tag = "tanna";
  t.alice.respond(*invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  t.alice.tag = "talice";
  t.alice.ack(t.n, *ok);
  CHECK(t.alice.take_request("ACK"));
  t.alice.in_dialog_as_caller(t.n, *ok, "BYE");
  const auto bye = t.alice.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  CHECK(header_of(*bye, sip::header::to).find("tanna") != std::string::npos);

  t.alice.request(t.n, "INVITE", "sip:alice@example.com"); // himself
  CHECK(t.alice.count("INVITE") == 1);
}

TEST_CASE("in: a callee that never answers a MESSAGE: 480 within the budget, never 408 (RFC 4320)") {
  in_bench t;
  t.carol.request(t.n, "MESSAGE", "sip:bob@example.com");
  t.c.advance(seconds(19));
  CHECK(t.carol.statuses().empty());
  t.c.advance(seconds(2));
  CHECK(t.carol.statuses() == std::vector{480});
}

TEST_CASE("out: the next target of a foreign server after a 503 and after silence (RFC 3263 §4.3)") {
  in_bench t;
  phone& first = t.c.add_stranger("first", "203.0.113.21:5060");
  phone& second = t.c.add_stranger("second", "203.0.113.22:5060");
  t.c.dns["elsewhere.net"] = {{sip::transport::udp, first.address, {}}, {sip::transport::udp, second.address, {}}};
  t.alice.request(t.n, "INVITE", "sip:dan@elsewhere.net");
  const auto a = first.take_request("INVITE");
  REQUIRE(a);
  SUBCASE("503") {
    first.respond(*a, 503);
    t.c.settle();
  }
  SUBCASE("silence") {
    t.c.advance(seconds(33));
  }
  const auto b = second.take_request("INVITE");
  REQUIRE_MESSAGE(b, t.c.trace);
  CHECK(header_of(*a, sip::header::via) != header_of(*b, sip::header::via)); // a new branch
  second.respond(*b, 200);
  t.c.settle();
  CHECK(t.alice.take_response(200));
}

TEST_CASE("out: over 1300 bytes a server is tried over TCP, and over UDP if nobody is there (RFC 3261 §18.1.1)") {
  in_bench t;
  phone& far = t.c.add_stranger("far", "203.0.113.21:5060");
  const auto via_of_call = [&](std::size_t bytes) {
    t.alice.request(t.n, "MESSAGE", "sip:far@203.0.113.21", {.body = std::string(bytes, 'x')});
    const auto seen = far.take_request("MESSAGE");
    REQUIRE_MESSAGE(seen, t.c.trace);
    return std::string(header_of(*seen, sip::header::via));
  };
  CHECK(via_of_call(200).starts_with("SIP/2.0/UDP"));
  CHECK(via_of_call(1500).starts_with("SIP/2.0/TCP"));
  t.n.refuses_streams = true;
  CHECK(via_of_call(1500).starts_with("SIP/2.0/UDP"));
}

TEST_CASE("out: a connection that never opens does not hold the caller: 480 after 5 s") {
  in_bench t;
  t.n.opens_nothing = true;
  t.alice.request(t.n, "INVITE", "sip:far@203.0.113.21");
  t.c.advance(seconds(6));
  CHECK(t.alice.take_response(480));
}

TEST_CASE("edge: OPTIONS every 25 s over UDP; three unanswered and the flow is gone, an answer brings it back") {
  in_bench t;
  t.c.advance(seconds(120));
  const auto pings = [&] {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = t.c.trace.find("OPTIONS sip:bob@", at)) != std::string::npos; ++at)
      ++n;
    return n;
  };
  CHECK(pings() >= 4);
  t.c.lost.insert(t.bob.address);
  t.c.advance(seconds(130));
  t.c.lost.clear();
  t.carol.request(t.n, "MESSAGE", "sip:bob@example.com");
  CHECK(t.carol.statuses() == std::vector{480});
  t.carol.clear();
  t.c.advance(seconds(60));
  t.carol.request(t.n, "MESSAGE", "sip:bob@example.com");
  CHECK(t.bob.count("MESSAGE") == 1);
}

TEST_CASE("best response: rank of classes and within 4xx (RFC 3261 §16.7 step 6)") {
  CHECK(rank_of(603) < rank_of(302));
  CHECK(rank_of(302) < rank_of(404));
  CHECK(rank_of(407) < rank_of(486));
  CHECK(rank_of(486) < rank_of(480));
  CHECK(rank_of(480) < rank_of(408));
  CHECK(rank_of(404) < rank_of(500));
  CHECK(rank_of(500) < rank_of(503));
}

TEST_CASE("in: a response whose connection is gone goes by a new one to received and sent-by's port (RFC 3261 §18.2.2)") {
  cluster c(1);
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  bob.register_at(c.node(0));
  phone& far = c.add_stranger("far", "192.0.2.9:5070"); // where it listens
  const endpoint source = *endpoint::parse("192.0.2.9:40000");
  const sip::flow stream{.transport = sip::transport::tcp, .serial = 9, .local = c.node(0).sip_address(), .remote = source};
  c.node(0).receive("MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP host.elsewhere.net:5070;branch=z9hG4bKx;rport\r\n"
                    "Max-Forwards: 70\r\nFrom: <sip:far@elsewhere.net>;tag=f\r\nTo: <sip:bob@example.com>\r\nCall-ID: m1\r\n"
                    "CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n",
                    {.flow = stream, .at = c.clock.now()});
  c.settle();
  const auto message = bob.take_request("MESSAGE");
  REQUIRE_MESSAGE(message, c.trace);
  SUBCASE("it is gone") {
    c.node(0).dead_flows.insert(source);
    bob.respond(*message, 200);
    c.settle();
    CHECK_MESSAGE(far.take_response(200), c.trace);
    REQUIRE(c.node(0).opened.size() == 1);
    CHECK(c.node(0).opened[0].remote == far.address);
    CHECK(c.node(0).opened[0].transport == sip::transport::tcp);
  }
  SUBCASE("it is there") {
    bob.respond(*message, 200);
    c.settle();
    CHECK(c.node(0).opened.empty());
    CHECK(far.inbox.empty());
  }
}

TEST_CASE("in: an isolated node refuses what is new, and passes what belongs to a dialog (consistency.md §7)") {
  cluster c(2);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  alice.register_at(c.node(0)), bob.register_at(c.node(0));
  alice.request(c.node(0), "INVITE", bob.aor());
  const auto invite = bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, c.trace);
  bob.respond(*invite, 200);
  c.settle();
  const auto ok = alice.take_response(200);
  REQUIRE(ok);
  c.set_facts([](cluster_facts& f) { f.serving = false, f.isolated = true; });
  alice.clear(), bob.clear();
  alice.ack(c.node(0), *ok);
  CHECK(bob.take_request("ACK"));
  alice.request(c.node(0), "MESSAGE", bob.aor());
  CHECK(alice.take_response(503));
  bob.in_dialog_as_callee(c.node(0), *invite, "BYE");
  const auto bye = alice.take_request("BYE");
  REQUIRE_MESSAGE(bye, c.trace);
  alice.respond(*bye, 200);
  c.settle();
  CHECK(bob.take_response(200));
}
