#include "roles/proxy/dialog_memory.hpp"
#include "roles/proxy/edge_memory.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {
sip::flow flow_of(std::string_view remote, sip::transport t = sip::transport::udp, std::uint32_t serial = 0) {
  return {.transport = t,
          .worker = 0,
          .serial = serial,
          .local = *endpoint::parse("10.0.0.1:5060"),
          .remote = *endpoint::parse(remote)};
}
mono_time at(int s) {
  return mono_time{} + seconds(s);
}
} // namespace

TEST_CASE("edge memory: a flow is its subscriber's until the grant ends") {
  edge_memory m;
  const sip::flow f = flow_of("192.0.2.1:5062");
  CHECK(m.learn(f, "sip:alice@example.com", 1, at(60)));
  CHECK(m.knows(f, at(59)));
  CHECK_FALSE(m.knows(f, at(60)));
  CHECK_FALSE(m.knows(flow_of("192.0.2.1:5063"), at(0)));
  m.sweep(at(60));
  CHECK(m.size() == 0);
}

TEST_CASE("edge memory: of several subscribers on one flow the wished one, else the first") {
  edge_memory m;
  const sip::flow f = flow_of("192.0.2.1:5062");
  m.learn(f, "sip:a@example.com", 1, at(60));
  m.learn(f, "sip:b@example.com", 2, at(60));
  CHECK(m.whose(f, "sip:b@example.com", at(0))->binding_id == 2);
  CHECK(m.whose(f, "sip:c@example.com", at(0))->binding_id == 1);
  m.forget(f, "sip:a@example.com");
  CHECK(m.whose(f, {}, at(0))->binding_id == 2);
}

TEST_CASE("edge memory: UDP flows are known by their addresses, streams by their connection") {
  edge_memory m;
  sip::flow udp = flow_of("192.0.2.1:5062");
  m.learn(udp, "sip:a@example.com", 1, at(60));
  udp.worker = 3; // another worker received it
  CHECK(m.knows(udp, at(0)));
  const sip::flow tcp = flow_of("192.0.2.1:40000", sip::transport::tcp, 7);
  m.learn(tcp, "sip:a@example.com", 1, at(60));
  CHECK_FALSE(m.knows(flow_of("192.0.2.1:40000", sip::transport::tcp, 8), at(0)));
}

TEST_CASE("edge memory: no flow takes subscribers without end") {
  edge_memory m;
  const sip::flow f = flow_of("192.0.2.1:5062");
  for (std::size_t i = 0; i < aors_per_flow_max; ++i)
    CHECK(m.learn(f, "sip:u" + std::to_string(i) + "@example.com", i, at(60)));
  CHECK_FALSE(m.learn(f, "sip:more@example.com", 1, at(60)));
}

TEST_CASE("edge memory: a binding that moved is remembered for its old flow alone, until it comes back by it") {
  edge_memory m;
  sip::flow old = flow_of("192.0.2.1:5062");
  m.mark_moved(old, 1, at(60));
  old.worker = 3;
  CHECK(m.moved(old, 1, at(59)));
  CHECK_FALSE(m.moved(old, 2, at(0))); // another subscriber's on the same flow
  CHECK_FALSE(m.moved(flow_of("192.0.2.1:5063"), 1, at(0)));
  CHECK_FALSE(m.moved(old, 1, at(60)));
  m.learn(old, "sip:a@example.com", 1, at(60));
  CHECK_FALSE(m.moved(old, 1, at(0)));
}

TEST_CASE("edge memory: a flow serves while one of its bindings is there and has not gone elsewhere") {
  edge_memory m;
  const sip::flow f = flow_of("192.0.2.1:5062");
  CHECK_FALSE(m.serves(f, at(0)));
  m.learn(f, "sip:a@example.com", 1, at(60));
  m.learn(f, "sip:b@example.com", 2, at(50));
  m.mark_moved(f, 1, at(40));
  CHECK(m.serves(f, at(0))); // b's
  CHECK(m.serves(f, at(45))); // what was forgotten of a
  CHECK_FALSE(m.serves(f, at(60)));
  m.forget(f, 2);
  CHECK_FALSE(m.serves(f, at(0)));
  CHECK(m.knows(f, at(0))); // it is still a subscriber's: challenged
  m.learn(f, "sip:a@example.com", 1, at(60));
  CHECK(m.serves(f, at(0)));
}

TEST_CASE("dialog memory: a Contact's host and port, whichever party asks") {
  dialog_memory m;
  m.update("call", "a", "b", at(0), [](dialog_memory::entry& e) {
    dialog_memory::saw_contact(e, "sip:alice@192.0.2.1:5062;ob");
    dialog_memory::saw_contact(e, "sip:Bob@Far.example");
  });
  const auto same = m.find("call", "b", "a");
  REQUIRE(same);
  CHECK(dialog_memory::has_host_of(*same, "sip:anything@192.0.2.1:5062"));
  CHECK(dialog_memory::has_host_of(*same, "sip:bob@far.EXAMPLE:5060"));
  CHECK_FALSE(dialog_memory::has_host_of(*same, "sip:premium@192.0.2.1:5063"));
  CHECK_FALSE(dialog_memory::has_host_of(*same, "nonsense"));
  CHECK(m.has(same->item));
  CHECK(m.take("call", "a", "b")->item == same->item);
  CHECK_FALSE(m.find("call", "a", "b"));
  CHECK(m.size() == 0);
}

TEST_CASE("dialog memory: Contacts of one dialog are limited, the oldest goes") {
  dialog_memory m;
  const auto e = m.update("call", "a", "b", at(0), [](dialog_memory::entry& one) {
    for (std::size_t i = 0; i <= hosts_per_dialog_max; ++i)
      dialog_memory::saw_contact(one, "sip:x@h" + std::to_string(i) + ".example");
  });
  CHECK(e.hosts.size() == hosts_per_dialog_max);
  CHECK_FALSE(dialog_memory::has_host_of(e, "sip:x@h0.example"));
}
