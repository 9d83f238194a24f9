#pragma once
// A call whose every stage is a hop of its own: Alice's edge is n1, Bob's is n2, n3 owns both; n4 is another edge.
#include "cluster.hpp"

#include "base/encoding.hpp"

#include <algorithm>

namespace skald::roles::testing {

struct takeover {
  testing::cluster c;
  phone& alice;
  phone& bob;

  explicit takeover(std::size_t nodes = 3, std::size_t alices_owner = 2, std::size_t bobs_owner = 2)
      : c(nodes), alice(c.add_phone(c.user_owned_by(c.node(alices_owner), "alice"), "192.0.2.1:5062")),
        bob(c.add_phone(c.user_owned_by(c.node(bobs_owner), "bob"), "192.0.2.2:5062")) {
    alice.register_at(c.node(0));
    bob.register_at(c.node(1));
    bob.clear();
  }

  test_node& left() { return c.node(0); }
  test_node& right() { return c.node(1); }
  test_node& owner() { return c.node(2); }

  // Alice asks, is challenged, and has her credentials ready; so the next request is not challenged any more.
  std::string authorization(std::string_view method) {
    const std::string id = alice.request(left(), method, bob.aor(), {.challenge = false});
    const auto challenge = alice.take_response(407);
    REQUIRE_MESSAGE(challenge, c.trace);
    if (method == "INVITE") alice.ack_failure(left(), *challenge);
    alice.clear();
    return alice.proxy_authorization(*challenge, method, bob.aor());
  }
  void send(std::string_view method, const std::string& authorization, test_node* edge = nullptr) {
    alice.request(edge != nullptr ? *edge : left(), method, bob.aor(),
                  {.more = authorization, .call_id = "the-call", .challenge = false});
  }
  sip::message ring() {
    send("INVITE", authorization("INVITE"));
    const auto invite = bob.take_request("INVITE");
    REQUIRE_MESSAGE(invite, c.trace);
    bob.respond(*invite, 180);
    c.settle();
    REQUIRE_MESSAGE(alice.take_response(180), c.trace);
    return *invite;
  }
  std::size_t finals(const phone& p) const {
    const auto all = p.statuses();
    return static_cast<std::size_t>(std::ranges::count_if(all, [](int s) { return s >= 200; }));
  }
  // Nothing is left of it, some time after.
  void check_empty() {
    c.advance(seconds(400));
    for (std::size_t i = 0; i < 3; ++i) {
      test_node& n = c.node(i);
      if (n.killed || n.frozen) continue;
      CAPTURE(n.name);
      CHECK(n.core.size() == 0);
      CHECK(n.core.legs_size() == 0);
    }
  }
};

} // namespace skald::roles::testing
