#include "cluster.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

struct two_phones {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& bob = c.add_phone("bob", "192.0.2.2:5062");
  two_phones() {
    alice.register_at(n);
    bob.register_at(n);
  }
};

} // namespace

TEST_CASE("one node: a MESSAGE reaches the callee's flow and its answer the caller") {
  two_phones t;
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.body = "hello"});
  const auto m = t.bob.take_request("MESSAGE");
  REQUIRE_MESSAGE(m, t.c.trace);
  CHECK(m->request_uri() == "sip:bob@192.0.2.2:5062");
  CHECK(m->body() == "hello");
  CHECK_FALSE(m->has(sip::header::proxy_authorization)); // sip.md §3
  CHECK(header_of(*m, sip::header::p_asserted_identity) == "<sip:alice@example.com>");
  CHECK(header_of(*m, sip::header::max_forwards) == "68"); // in and term take one each
  CHECK_FALSE(m->has(sip::header::route));
  t.bob.respond(*m, 200);
  t.c.settle();
  CHECK(t.alice.take_response(200));
  t.c.advance(seconds(60));
  CHECK(t.n.core.size() == 0); // nothing is left
}

TEST_CASE("one node: a call, both sides here, with ACK, re-INVITE and BYE from either side") {
  two_phones t;
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(t.alice.take_response(100));
  CHECK(invite->values(sip::header::record_route).size() == 2); // RFC 5658
  t.bob.respond(*invite, 180);
  t.c.settle();
  CHECK(t.alice.take_response(180));
  t.bob.respond(*invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  t.alice.ack(t.n, *ok);
  const auto ack = t.bob.take_request("ACK");
  REQUIRE_MESSAGE(ack, t.c.trace);
  CHECK_FALSE(ack->has(sip::header::route));
  CHECK(t.c.store.count(dht::table::dialogs) == 1);

  const auto caller_hangs_up = [&] {
    t.alice.in_dialog_as_caller(t.n, *ok, "BYE");
    const auto bye = t.bob.take_request("BYE");
    REQUIRE_MESSAGE(bye, t.c.trace);
    t.bob.respond(*bye, 200);
    t.c.settle();
    CHECK(t.alice.take_response(200));
  };
  SUBCASE("the caller hangs up") {
    caller_hangs_up();
  }
  SUBCASE("a node that does not serve passes what is within the dialog") {
    t.c.set_facts([](cluster_facts& f) { f.serving = false, f.isolated = true; });
    caller_hangs_up();
  }
  SUBCASE("a node that has just started and knows no cluster key yet ends no dialog by a 481") {
    std::shared_ptr<const key_ring> keys;
    t.c.set_facts([&](cluster_facts& f) { keys = std::exchange(f.keys, std::make_shared<const key_ring>()), f.serving = false; });
    t.alice.in_dialog_as_caller(t.n, *ok, "BYE");
    const auto later = t.alice.take_response(503);
    REQUIRE_MESSAGE(later, t.c.trace);
    CHECK(later->has(sip::header::retry_after));
    t.c.set_facts([&](cluster_facts& f) { f.keys = keys, f.serving = true; });
    caller_hangs_up();
  }
  SUBCASE("the callee refreshes, and hangs up") {
    t.bob.in_dialog_as_callee(t.n, *invite, "INVITE");
    const auto again = t.alice.take_request("INVITE");
    REQUIRE_MESSAGE(again, t.c.trace);
    CHECK(again->request_uri() == "sip:alice@192.0.2.1:5062");
    CHECK(again->values(sip::header::record_route).size() == 2);
    t.alice.respond(*again, 200);
    t.c.settle();
    const auto fine = t.bob.take_response(200);
    REQUIRE_MESSAGE(fine, t.c.trace);
    t.bob.ack(t.n, *fine);
    CHECK(t.alice.take_request("ACK"));
    t.bob.in_dialog_as_callee(t.n, *invite, "BYE");
    const auto bye = t.alice.take_request("BYE");
    REQUIRE_MESSAGE(bye, t.c.trace);
    t.alice.respond(*bye, 200);
    t.c.settle();
    CHECK(t.bob.take_response(200));
  }
  CHECK(t.c.store.count(dht::table::dialogs) == 0);
  t.c.advance(seconds(300));
  CHECK(t.n.core.size() == 0);
}
