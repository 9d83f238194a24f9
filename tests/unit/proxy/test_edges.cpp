#include "cluster.hpp"

#include "roles/core/subscriber.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

struct call_bench {
  testing::cluster c{2};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  std::optional<sip::message> invite, ok;
  call_bench() {
    alice.register_at(n);
    bob.register_at(c.node(1));
  }
  void connect() {
    alice.request(n, "INVITE", "sip:bob@example.com");
    invite = bob.take_request("INVITE");
    REQUIRE(invite);
    bob.respond(*invite, 200);
    c.settle();
    ok = alice.take_response(200);
    REQUIRE(ok);
    alice.ack(n, *ok);
    alice.clear();
    bob.clear();
  }
};

} // namespace

TEST_CASE("edge: a flow that is gone in a dialog is 500 with Retry-After: it ends nothing (RFC 5057)") {
  call_bench t;
  t.connect();
  t.c.node(1).dead_flows.insert(t.bob.address);
  t.n.dead_flows.insert(t.bob.address); // his Contact neither
  t.alice.in_dialog_as_caller(t.n, *t.ok, "INFO");
  const auto answer = t.alice.take_response(500);
  REQUIRE_MESSAGE(answer, t.c.trace);
  CHECK(answer->has(sip::header::retry_after));
}

TEST_CASE("edge: a BYE of one's own making does not end another's dialog") {
  call_bench t;
  t.connect();
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  sip::message forged = *t.ok;
  forged.remove(sip::header::record_route);
  carol.in_dialog_as_caller(t.n, forged, "BYE");
  CHECK(carol.take_response(481));
  CHECK(t.c.store.count(dht::table::dialogs) == 1);
  t.alice.in_dialog_as_caller(t.n, *t.ok, "BYE");
  CHECK(t.bob.count("BYE") == 1);
}

TEST_CASE("edge: a 2xx that comes again after the transaction is over goes on by Via (RFC 3261 §13.3.1.4)") {
  call_bench t;
  t.connect();
  t.c.advance(seconds(100));
  CHECK(t.n.core.size() == 0);
  t.bob.respond(*t.invite, 200);
  t.c.settle();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
}

TEST_CASE("edge: a stray response that is not ours goes nowhere") {
  call_bench t;
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.send_text(t.n,
                  "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKforged\r\n"
                  "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n"
                  "Call-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n");
  t.c.settle();
  CHECK(t.alice.inbox.empty());
}

TEST_CASE("edge: a strict router before us put our Route into the Request-URI (RFC 3261 §16.4)") {
  call_bench t;
  t.connect();
  // As an old UA routes: the first Route as Request-URI, the target as last Route.
  auto rr = t.ok->values(sip::header::record_route);
  REQUIRE(rr.size() == 2);
  const std::string first = std::string(rr[1]).substr(1, rr[1].size() - 2);
  t.alice.send_text(t.n, "BYE " + first + " SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKstrict;rport\r\n" +
                             "Max-Forwards: 70\r\nRoute: " + std::string(rr[0]) + "\r\nRoute: " + t.bob.contact() +
                             "\r\nFrom: " + header_of(*t.ok, sip::header::from) +
                             "\r\nTo: " + header_of(*t.ok, sip::header::to) + "\r\nCall-ID: " +
                             header_of(*t.ok, sip::header::call_id) + "\r\nCSeq: 90 BYE\r\nContent-Length: 0\r\n\r\n");
  t.c.settle();
  const auto bye = t.bob.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  CHECK(bye->request_uri() == "sip:bob@192.0.2.2:5062");
}

TEST_CASE("edge: sips: goes over TLS flows and links only; else 480") {
  call_bench t;
  t.alice.request(t.n, "INVITE", "sips:bob@example.com");
  CHECK_MESSAGE(t.alice.take_response(480), t.c.trace);
  CHECK(t.bob.count("INVITE") == 0);
}

TEST_CASE("orig: a Request-URI that is a binding's raw Contact goes to that binding (attended transfer)") {
  call_bench t;
  t.alice.request(t.n, "INVITE", "sip:bob@192.0.2.2:5062");
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(invite->values(sip::header::record_route).size() == 2); // by the binding's edge and flow
}

TEST_CASE("orig: an alias of the subscriber's own may stand in From and be asserted; term follows the callee's alias") {
  call_bench t;
  subscriber bob = make_subscriber("sip:bob@example.com", "secret", 1000);
  bob.aliases = {"sip:sales@example.com"};
  t.c.store.keep(dht::table::subscribers, dht::key_of_aor(bob.aor), {put_subscriber(bob)});
  subscriber sign;
  sign.aor = "sip:sales@example.com";
  sign.alias_of = bob.aor;
  t.c.store.keep(dht::table::subscribers, dht::key_of_aor(sign.aor), {put_subscriber(sign)});
  t.alice.request(t.n, "MESSAGE", "sip:sales@example.com");
  const auto m = t.bob.take_request("MESSAGE");
  REQUIRE_MESSAGE(m, t.c.trace);
  CHECK(header_of(*m, sip::header::max_forwards) == "67"); // each pass of term takes one
  t.bob.request(t.c.node(1), "MESSAGE", "sip:alice@example.com",
                {.from = "<sip:sales@example.com>",
                 .more = "P-Preferred-Identity: <sip:sales@example.com>\r\n",
                 .challenge = false});
  CHECK(t.bob.take_response(407));
}

TEST_CASE("edge: CANCEL for a request that is not under way is 481") {
  call_bench t;
  t.connect();
  t.alice.request(t.n, "OPTIONS", "sip:example.com");
  t.alice.clear();
  t.alice.cancel(t.n);
  CHECK(t.alice.take_response(481));
}

TEST_CASE("edge: a request for a second instance of a dialog's method after BYE is 481 or goes by token, never hangs") {
  call_bench t;
  t.connect();
  t.alice.in_dialog_as_caller(t.n, *t.ok, "BYE");
  const auto bye = t.bob.take_request("BYE");
  t.bob.respond(*bye, 200);
  t.c.settle();
  t.alice.clear();
  t.alice.in_dialog_as_caller(t.n, *t.ok, "BYE");
  const auto again = t.bob.take_request("BYE");
  REQUIRE(again);
  t.bob.respond(*again, 481);
  t.c.settle();
  CHECK(t.alice.take_response(481));
}
