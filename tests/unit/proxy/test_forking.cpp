#include "cluster.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

// Alice calls Bob, who has two phones.
struct fork_bench {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& desk = c.add_phone("bob", "192.0.2.2:5062");
  phone& cell = c.add_phone("bob", "192.0.2.3:5062");
  std::optional<sip::message> at_desk, at_cell;

  fork_bench() {
    desk.tag = "desk", cell.tag = "cell";
    alice.register_at(n);
    desk.register_at(n);
    cell.register_at(n);
  }
  void invite() {
    alice.request(n, "INVITE", "sip:bob@example.com");
    at_desk = desk.take_request("INVITE");
    at_cell = cell.take_request("INVITE");
    REQUIRE_MESSAGE(at_desk, c.trace);
    REQUIRE(at_cell);
    alice.clear();
  }
  void answer(phone& p, const sip::message& m, int status, std::string_view more = {}) {
    p.respond(m, status, more);
    c.settle();
  }
};

} // namespace

TEST_CASE("fork: one answers, the other is cancelled as completed elsewhere (RFC 3326)") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 180);
  t.answer(t.cell, *t.at_cell, 180);
  CHECK(t.alice.statuses() == std::vector{180, 180});
  t.answer(t.desk, *t.at_desk, 200);
  CHECK(t.alice.take_response(200));
  const auto cancel = t.cell.take_request("CANCEL");
  REQUIRE(cancel);
  CHECK(header_of(*cancel, sip::header::reason) == "SIP;cause=200;text=\"Call completed elsewhere\"");
  t.answer(t.cell, *t.at_cell, 487);
  CHECK_FALSE(t.alice.take_response(487));
  t.c.advance(seconds(200));
  CHECK(t.n.core.size() == 0);
}

TEST_CASE("fork: CANCEL waits until the branch has answered provisionally (RFC 3261 §9.1)") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 200);
  CHECK(t.cell.count("CANCEL") == 0);
  t.answer(t.cell, *t.at_cell, 180);
  CHECK(t.cell.count("CANCEL") == 1);
}

TEST_CASE("fork: both answer: each 2xx goes to the caller (RFC 3261 §16.7 step 5)") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 200);
  t.answer(t.cell, *t.at_cell, 200);
  CHECK(t.alice.statuses() == std::vector{200, 200});
}

TEST_CASE("fork: busy everywhere is one 486, sent when all have answered") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 486);
  CHECK(t.alice.statuses().empty());
  t.answer(t.cell, *t.at_cell, 486);
  CHECK(t.alice.statuses() == std::vector{486});
}

TEST_CASE("fork: a 6xx cancels the rest and wins (RFC 3261 §16.7)") {
  fork_bench t;
  t.invite();
  t.answer(t.cell, *t.at_cell, 180);
  t.alice.clear();
  t.answer(t.desk, *t.at_desk, 603);
  CHECK(t.cell.count("CANCEL") == 1);
  t.answer(t.cell, *t.at_cell, 487);
  CHECK(t.alice.statuses() == std::vector{603});
}

TEST_CASE("fork: 3xx goes to the caller, before any 4xx") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 486);
  t.answer(t.cell, *t.at_cell, 302);
  CHECK(t.alice.statuses() == std::vector{302});
}

TEST_CASE("fork: challenges of others are merged, ours are cut out (RFC 3261 §16.7 step 7; sip.md §3)") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 407, "Proxy-Authenticate: Digest realm=\"one.net\", nonce=\"a\"\r\n");
  t.answer(t.cell, *t.at_cell, 407,
           "Proxy-Authenticate: Digest realm=\"two.net\", nonce=\"b\"\r\nProxy-Authenticate: Digest "
           "realm=\"example.com\", nonce=\"c\"\r\n");
  const auto merged = t.alice.take_response(407);
  REQUIRE(merged);
  const std::string text = merged->serialize();
  CHECK(text.find("one.net") != std::string::npos);
  CHECK(text.find("two.net") != std::string::npos);
  CHECK(text.find("realm=\"example.com\"") == std::string::npos);
}

TEST_CASE("fork: a 503 from a phone never leaves as 503 (RFC 3261 §16.7 step 6)") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 503);
  t.answer(t.cell, *t.at_cell, 503);
  CHECK(t.alice.statuses() == std::vector{500});
}

TEST_CASE("fork: nobody answers within ring_seconds: CANCEL to all, 408 to the caller") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 180);
  t.answer(t.cell, *t.at_cell, 180);
  t.alice.clear();
  t.c.advance(seconds(181));
  CHECK(t.desk.count("CANCEL") == 1);
  CHECK(t.cell.count("CANCEL") == 1);
  CHECK(t.alice.take_response(408));
}

TEST_CASE("fork: a phone that says nothing at all does not hold the other one's answer") {
  fork_bench t;
  t.c.lost.insert(t.cell.address);
  t.alice.request(t.n, "INVITE", "sip:bob@example.com");
  t.at_desk = t.desk.take_request("INVITE");
  REQUIRE(t.at_desk);
  t.answer(t.desk, *t.at_desk, 486);
  t.c.advance(seconds(33)); // timer B
  CHECK(t.alice.take_response(486));
}

TEST_CASE("fork: the caller cancels: both phones stop, one 487") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 180);
  t.answer(t.cell, *t.at_cell, 180);
  t.alice.clear();
  t.alice.cancel(t.n);
  CHECK(t.desk.count("CANCEL") == 1);
  t.answer(t.desk, *t.at_desk, 487);
  t.answer(t.cell, *t.at_cell, 487);
  CHECK(t.alice.statuses() == std::vector{200, 487}); // 200 to the CANCEL
}

TEST_CASE("fork: a phone that ignores CANCEL counts as ended after 64 T1 (RFC 3261 §9.1)") {
  fork_bench t;
  t.invite();
  t.answer(t.desk, *t.at_desk, 180);
  t.answer(t.cell, *t.at_cell, 180);
  t.alice.clear();
  t.alice.cancel(t.n);
  t.c.advance(seconds(33));
  CHECK(t.alice.take_response(487));
}

TEST_CASE("fork: Max-Breadth is shared among the branches, and 440 when spent (RFC 5393 §5)") {
  fork_bench t;
  t.alice.request(t.n, "INVITE", "sip:bob@example.com", {.more = "Max-Breadth: 10\r\n"});
  const auto m = t.desk.take_request("INVITE");
  REQUIRE(m);
  CHECK(header_of(*m, sip::header::max_breadth) == "5");
  t.alice.clear();
  t.alice.request(t.n, "MESSAGE", "sip:bob@example.com", {.more = "Max-Breadth: 0\r\n"});
  CHECK(t.alice.take_response(440));
}

TEST_CASE("fork: an instance's second flow is tried only when the first fails (RFC 5626 §7)") {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& old_flow = c.add_phone("bob", "192.0.2.2:5062");
  phone& new_flow = c.add_phone("bob", "192.0.2.3:5062");
  alice.register_at(n);
  const auto bind = [&](phone& p, int reg_id) {
    p.request(n, "REGISTER", "sip:example.com",
              {.to = "<sip:bob@example.com>",
               .more = "Expires: 600\r\nSupported: path, outbound\r\n",
               .call_id = "reg" + std::to_string(reg_id),
               .contact = p.contact() + ";+sip.instance=\"<urn:uuid:1>\";reg-id=" + std::to_string(reg_id)});
    REQUIRE_MESSAGE(p.take_response(200), c.trace);
  };
  bind(old_flow, 1);
  c.advance(seconds(1));
  bind(new_flow, 2);
  SUBCASE("the newest alone rings") {
    alice.request(n, "INVITE", "sip:bob@example.com");
    CHECK(new_flow.count("INVITE") == 1);
    CHECK(old_flow.count("INVITE") == 0);
  }
  SUBCASE("it is gone: the other one") {
    n.dead_flows.insert(new_flow.address);
    alice.request(n, "INVITE", "sip:bob@example.com");
    CHECK(new_flow.count("INVITE") == 0);
    CHECK_MESSAGE(old_flow.count("INVITE") == 1, c.trace);
  }
}
