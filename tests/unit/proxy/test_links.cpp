#include "cluster.hpp"
#include "roles/proxy/context.hpp"

#include <algorithm>

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

// Alice's edge is n1, Bob's is n2; the owners are chosen, so that each stage is a hop of its own.
struct across {
  testing::cluster c{3};
  phone& alice;
  phone& bob;
  across(std::size_t alices_owner, std::size_t bobs_owner)
      : alice(c.add_phone(c.user_owned_by(c.node(alices_owner), "alice"), "192.0.2.1:5062")),
        bob(c.add_phone(c.user_owned_by(c.node(bobs_owner), "bob"), "192.0.2.2:5062")) {
    alice.register_at(c.node(0));
    bob.register_at(c.node(1));
  }
  test_node& left() { return c.node(0); }
  test_node& right() { return c.node(1); }
};

// From now on that node alone owns everything.
void move_all_to(across& t, std::size_t node) {
  t.c.set_facts([&](cluster_facts& f) { f.registrars = dht::ring::build({{t.c.node(node).id, 100, ""}}); });
}

int register_alice(across& t) {
  t.alice.inbox.clear();
  t.alice.request(t.left(), "REGISTER", "sip:example.com", {.to = "<" + t.alice.aor() + ">", .call_id = "again"});
  t.c.advance(milliseconds(300));
  return t.alice.inbox.empty() ? 0 : t.alice.inbox.back().status();
}

void call_and_hang_up(across& t) {
  t.alice.request(t.left(), "INVITE", t.bob.aor());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(invite->values(sip::header::record_route).size() == 2); // one for each UA side
  CHECK_FALSE(invite->has(sip::header::route));
  t.bob.respond(*invite, 180);
  t.c.settle();
  CHECK(t.alice.take_response(180));
  t.bob.respond(*invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE_MESSAGE(ok, t.c.trace);
  CHECK(ok->values(sip::header::via).size() == 1);
  t.alice.ack(t.left(), *ok);
  REQUIRE_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
  CHECK(t.c.store.count(dht::table::dialogs) == 1);

  t.bob.in_dialog_as_callee(t.right(), *invite, "UPDATE");
  const auto update = t.alice.take_request("UPDATE");
  REQUIRE_MESSAGE(update, t.c.trace);
  t.alice.respond(*update, 200);
  t.c.settle();
  CHECK(t.bob.take_response(200));

  t.bob.in_dialog_as_callee(t.right(), *invite, "BYE");
  const auto bye = t.alice.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  t.alice.respond(*bye, 200);
  t.c.settle();
  CHECK(t.bob.take_response(200));
  CHECK(t.c.store.count(dht::table::dialogs) == 0);
  t.c.advance(seconds(400));
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(t.c.node(i).core.size() == 0);
}

} // namespace

TEST_CASE("links: a call across two edges, whoever owns the two subscribers") {
  for (std::size_t a = 0; a < 3; ++a)
    for (std::size_t b = 0; b < 3; ++b) {
      CAPTURE(a);
      CAPTURE(b);
      across t(a, b);
      call_and_hang_up(t);
    }
}

TEST_CASE("links: consecutive stages on one node are function calls: a request alone at home uses no link") {
  across t(0, 0);
  phone& carol = t.c.add_phone(t.c.user_owned_by(t.left(), "carol"), "192.0.2.3:5062");
  carol.register_at(t.left());
  const std::size_t before = t.c.link_messages;
  t.alice.request(t.left(), "MESSAGE", carol.aor());
  const auto m = carol.take_request("MESSAGE");
  REQUIRE(m);
  carol.respond(*m, 200);
  t.c.settle();
  CHECK(t.alice.take_response(200));
  CHECK(t.c.link_messages == before);
}

TEST_CASE("links: every request is answered by 100 at once, which goes no further") {
  across t(2, 2);
  t.alice.request(t.left(), "MESSAGE", t.bob.aor());
  CHECK(t.alice.statuses().empty()); // RFC 4320: no 100 to a non-INVITE of a phone
  CHECK(t.c.trace.find("SIP/2.0 100") != std::string::npos);
}

TEST_CASE("links: CANCEL goes hop by hop with its Reason, and the caller hears 487") {
  across t(2, 2);
  t.alice.request(t.left(), "INVITE", t.bob.aor());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 180);
  t.c.settle();
  t.alice.cancel(t.left(), "Reason: SIP;cause=600;text=\"Busy here\"\r\n");
  CHECK(t.alice.take_response(200));
  const auto cancel = t.bob.take_request("CANCEL");
  REQUIRE_MESSAGE(cancel, t.c.trace);
  CHECK(header_of(*cancel, sip::header::reason).find("cause=600") != std::string::npos);
  t.bob.respond(*invite, 487);
  t.c.settle();
  CHECK(t.alice.take_response(487));
  CHECK(t.bob.take_request("ACK"));
}

TEST_CASE("links: the callee's own answer reaches the caller across the owners") {
  across t(1, 2);
  t.alice.request(t.left(), "INVITE", t.bob.aor());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE(invite);
  t.bob.respond(*invite, 486);
  t.c.settle();
  CHECK(t.alice.take_response(486));
  CHECK(t.bob.take_request("ACK"));
}

TEST_CASE("links: a stage and its key are believed on links only") {
  across t(2, 2);
  phone& mallory = t.c.add_stranger("mallory", "203.0.113.9:5060");
  // A Route that names the node as outbound proxy, with a stage: the parameters are cut off, the rest is as if absent.
  mallory.request(t.left(), "MESSAGE", "sip:somebody@far.example",
                  {.more = "Route: <sip:n1.example.com;lr;stage=out>\r\n"});
  CHECK(mallory.take_response(403)); // no relay
}

TEST_CASE("links: a foreign caller's call goes to the callee's edge, and the callee can hang up") {
  across t(2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.left(), "INVITE", t.bob.aor());
  const auto invite = t.bob.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(invite->values(sip::header::record_route).size() == 1); // the callee's side alone
  t.bob.respond(*invite, 200);
  t.c.settle();
  const auto ok = carol.take_response(200);
  REQUIRE(ok);
  carol.ack(t.right(), *ok);
  CHECK_MESSAGE(t.bob.take_request("ACK"), t.c.trace);
  SUBCASE("towards her Contact, which the edge saw") {
    t.bob.in_dialog_as_callee(t.right(), *invite, "BYE");
    const auto bye = carol.take_request("BYE");
    REQUIRE_MESSAGE(bye, t.c.trace);
    carol.respond(*bye, 200);
    t.c.settle();
    CHECK(t.bob.take_response(200));
  }
  SUBCASE("not towards another place: no toll hole") {
    phone& premium = t.c.add_stranger("premium", "203.0.113.99:5060");
    sip::message twisted = *invite;
    twisted.set(sip::header::contact, premium.contact());
    t.bob.in_dialog_as_callee(t.right(), twisted, "INFO");
    CHECK(premium.inbox.empty());
    CHECK(t.bob.take_response(403));
  }
}

TEST_CASE("links: a call to another domain leaves from the caller's edge") {
  across t(2, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  t.c.dns["elsewhere.net"] = {{sip::transport::udp, carol.address, {}}};
  t.alice.request(t.left(), "INVITE", carol.aor());
  const auto invite = carol.take_request("INVITE");
  REQUIRE_MESSAGE(invite, t.c.trace);
  CHECK(invite->request_uri() == carol.aor());
  CHECK(invite->values(sip::header::record_route).size() == 1);
  CHECK(header_of(*invite, sip::header::via).find("10.0.0.1") != std::string::npos);
  carol.respond(*invite, 200);
  t.c.settle();
  const auto ok = t.alice.take_response(200);
  REQUIRE(ok);
  t.alice.ack(t.left(), *ok);
  CHECK_MESSAGE(carol.take_request("ACK"), t.c.trace);
  carol.in_dialog_as_callee(t.left(), *invite, "BYE");
  const auto bye = t.alice.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  t.alice.respond(*bye, 200);
  t.c.settle();
  CHECK(carol.take_response(200));
}

TEST_CASE("links: nodes that disagree pass a stage on once; the third hop is 500 with Retry-After") {
  across t(2, 2);
  // n3 believes that n1 owns everything, n1 that n3 does.
  const auto only = [&](test_node& believer, test_node& owner) {
    auto facts = std::make_shared<cluster_facts>(*believer.facts_);
    facts->registrars = dht::ring::build({{owner.id, 100, ""}});
    auto view = std::make_shared<dht::view>(*facts->view);
    view->stamp.hash = owner.id.head(); // another belief, another stamp
    facts->view = view;
    believer.facts_ = facts;
  };
  only(t.c.node(0), t.c.node(2));
  only(t.c.node(2), t.c.node(0));
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  carol.request(t.right(), "MESSAGE", t.bob.aor());
  SUBCASE("by one that is no owner for two seconds more") {
    CHECK(carol.statuses().empty());
    t.c.advance(owner_wait + milliseconds(200));
    const auto refused = carol.take_response(500);
    REQUIRE_MESSAGE(refused, t.c.trace);
    CHECK(refused->has(sip::header::retry_after));
    CHECK(t.bob.count("MESSAGE") == 0);
  }
  SUBCASE("unless its view was late, and it owns it") {
    for (std::size_t i : {0, 2}) only(t.c.node(i), t.c.node(i));
    t.c.advance(milliseconds(200));
    CHECK_MESSAGE(t.bob.count("MESSAGE") == 1, t.c.trace);
  }
  // Each of the two that were asked wrongly compares views with who asked (sip.md §1).
  CHECK(t.c.node(0).compared_with_.size() + t.c.node(2).compared_with_.size() >= 1);
}

TEST_CASE("links: an owner that cannot be reached is 500 or 480, never a silence") {
  across t(2, 2);
  t.left().dead_flows = {t.right().link_address(), t.c.node(2).link_address()};
  t.c.set_facts([](cluster_facts& f) { f.registrars = dht::ring::build({f.registrars->members()[2]}); }); // one holder
  t.alice.request(t.left(), "MESSAGE", t.bob.aor());
  t.c.advance(seconds(1));
  CHECK(t.alice.statuses().empty()); // its death may not have been noticed yet: the next owner is waited for
  t.c.advance(milliseconds(1200));
  REQUIRE(t.alice.statuses().size() == 1);
  CHECK(t.alice.statuses()[0] == 500);
}

TEST_CASE("links: an owner that comes back within two seconds is asked again, and the caller sees a slow answer (sip.md §6)") {
  across t(2, 2);
  t.c.set_facts([](cluster_facts& f) { f.registrars = dht::ring::build({f.registrars->members()[2]}); }); // one holder
  t.left().dead_flows.insert(t.c.node(2).link_address());
  t.alice.request(t.left(), "MESSAGE", t.bob.aor());
  t.c.advance(milliseconds(700));
  t.left().dead_flows.clear();
  t.c.advance(milliseconds(300));
  CHECK_MESSAGE(t.alice.take_response(407), t.c.trace); // by the owner of her key
}

TEST_CASE("links: a callee whose edge is gone is 480") {
  across t(0, 2);
  t.c.node(2).dead_flows.insert(t.right().link_address());
  t.alice.request(t.left(), "INVITE", t.bob.aor());
  CHECK_MESSAGE(t.alice.take_response(480), t.c.trace);
}

TEST_CASE("links: a REGISTER whose owner changes while it is there goes to the next one, and is not refused") {
  SUBCASE("it owned at the edge itself") {
    across t(0, 1);
    int refused = 0;
    t.c.store.refuses = [&](dht::table table) -> std::optional<dht::write_error> {
      if (table != dht::table::bindings || refused++ > 0) return std::nullopt;
      move_all_to(t, 2);
      return dht::write_error::not_owner;
    };
    CHECK_MESSAGE(register_alice(t) == 200, t.c.trace);
    CHECK(refused == 2);
  }
  SUBCASE("it owned at another node, which sends it on") {
    across t(2, 1);
    int refused = 0;
    t.c.store.refuses = [&](dht::table table) -> std::optional<dht::write_error> {
      if (table != dht::table::bindings || refused++ > 0) return std::nullopt;
      move_all_to(t, 1);
      return dht::write_error::not_owner;
    };
    CHECK_MESSAGE(register_alice(t) == 200, t.c.trace);
    CHECK(refused == 2);
  }
  SUBCASE("an owner that may not act just now is asked again here, and not for ever") {
    across t(0, 1);
    const mono_time from = t.c.clock.now();
    t.c.store.refuses = [](dht::table table) { return table == dht::table::bindings ? std::optional(dht::write_error::not_active) : std::nullopt; };
    CHECK(register_alice(t) == 0); // still asked
    t.c.advance(owner_wait);
    REQUIRE_FALSE(t.alice.inbox.empty());
    CHECK_MESSAGE(t.alice.inbox.back().status() == 500, t.c.trace);
    CHECK(t.alice.inbox.back().has(sip::header::retry_after));
    CHECK(t.c.clock.now() - from < owner_wait + seconds(1));
  }
}

TEST_CASE("links: an owner that ends with a stage that was passed on to it: who passed it on owns it now, and does it") {
  across t(2, 2);
  // n2 believes that n1 owns everything, n1 that n3 does, which has just left.
  const auto only = [&](std::size_t believer, std::size_t owner) {
    auto facts = std::make_shared<cluster_facts>(*t.c.node(believer).facts_);
    facts->registrars = dht::ring::build({{t.c.node(owner).id, 100, ""}});
    t.c.node(believer).facts_ = facts;
  };
  only(1, 0);
  only(0, 2);
  phone& carol = t.c.add_stranger("carol", "203.0.113.9:5060");
  t.c.freeze(t.c.node(2));
  carol.request(t.right(), "MESSAGE", t.bob.aor());
  CHECK(t.bob.count("MESSAGE") == 0);
  only(0, 0);
  t.c.kill(t.c.node(2));
  t.c.advance(milliseconds(300));
  CHECK_MESSAGE(t.bob.count("MESSAGE") == 1, t.c.trace);
}
