#include "bench.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::bench;

namespace {

phone outbound_phone(int reg_id) {
  phone p;
  p.more = "Supported: path, outbound\r\n";
  p.contact = "<sip:alice@10.0.0.5:5062;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=" + std::to_string(reg_id);
  p.source = *endpoint::parse("203.0.113.7:40000");
  p.call_id = "flow-" + std::to_string(reg_id);
  p.expires = "3600";
  return p;
}

} // namespace

TEST_CASE("outbound: reg-id, instance, Supported and ob give Require: outbound and Flow-Timer, and the full grant (RFC 5626 §6)") {
  bench::bench b;
  phone p = outbound_phone(1);
  const sip::message ok = b.register_with_digest(p);
  REQUIRE(ok.status() == 200);
  CHECK(ok.lists(sip::header::require, "outbound"));
  CHECK(ok.first(sip::header::flow_timer) == "60");
  const auto contacts = contacts_in(ok);
  REQUIRE(contacts.size() == 1);
  CHECK(contacts[0] == "<sip:alice@10.0.0.5:5062;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=3600");
  CHECK(b.bindings()[0].instance == "urn:uuid:1");
  CHECK(b.bindings()[0].id == sip::binding_id("sip:alice@example.com", "urn:uuid:1", 1));
}

TEST_CASE("outbound: two flows of one instance are two bindings; a flow that comes again takes its place, whatever its Contact (RFC 5626 §6)") {
  bench::bench b;
  phone first = outbound_phone(1), second = outbound_phone(2);
  REQUIRE(b.register_with_digest(first).status() == 200);
  b.seconds_pass(1);
  REQUIRE(b.register_with_digest(second).status() == 200);
  CHECK(b.bindings().size() == 2);
  b.seconds_pass(1);
  first.contact = "<sip:alice@10.0.0.6:5099;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=1";
  first.call_id = "after-reboot";
  REQUIRE(b.register_with_digest(first).status() == 200);
  const auto held = b.bindings();
  REQUIRE(held.size() == 2);
  CHECK(held[0].contact == "sip:alice@10.0.0.6:5099;ob");

  const auto places = group_by_instance(held);
  REQUIRE(places.size() == 1); // one UA, two ways to it
  CHECK(places[0].flows.size() == 2);
  CHECK(places[0].flows[0].reg_id == 1);
}

TEST_CASE("outbound: a first hop without ob is 439 (RFC 5626 §6), be it ours or a customer's SBC") {
  bench::bench b;
  phone p = outbound_phone(1);
  p.path_more = ";lr";
  CHECK(b.register_with_digest(p).status() == 439);
  p = outbound_phone(1);
  p.path_below = "<sip:sbc.example.net;lr>";
  CHECK(b.register_with_digest(p).status() == 439);
  p.path_below = "<sip:sbc.example.net;lr;ob>", ++p.cseq;
  CHECK(b.register_with_digest(p).status() == 200);
}

TEST_CASE("outbound: without Supported: outbound it is none, and the grant is that of a phone behind NAT") {
  bench::bench b;
  phone p = outbound_phone(1);
  p.more.clear();
  const sip::message ok = b.register_with_digest(p);
  CHECK(ok.status() == 200);
  CHECK_FALSE(ok.has(sip::header::require));
  CHECK_FALSE(ok.has(sip::header::flow_timer));
  CHECK(contacts_in(ok)[0].ends_with(";expires=120"));
}

TEST_CASE("outbound: two reg-ids in one REGISTER are 400, a reg-id without instance is ignored (RFC 5626 §6)") {
  bench::bench b;
  phone p = outbound_phone(1);
  const std::string one = p.contact;
  p.contact += ", <sip:alice@10.0.0.5:5070;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=2";
  CHECK(b.register_with_digest(p).status() == 400);
  p.contact = one + ";expires=0, <sip:alice@10.0.0.5:5070;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=2";
  CHECK(b.next(p).status() == 200); // one goes, one comes
  p.contact = "<sip:alice@10.0.0.8>;reg-id=1";
  const sip::message ok = b.next(p);
  CHECK(ok.status() == 200);
  CHECK_FALSE(ok.has(sip::header::require));
}

TEST_CASE("outbound: a flow is removed by its reg-id, or by its URI from a phone that forgot it") {
  bench::bench b;
  phone p = outbound_phone(1);
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "<sip:elsewhere@10.0.0.99;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=0";
  CHECK(b.next(p).status() == 200);
  CHECK(b.bindings().empty());
  p = outbound_phone(1);
  p.cseq = 20;
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "<sip:alice@10.0.0.5:5062;ob>;expires=0";
  CHECK(b.next(p).status() == 200);
  CHECK(b.bindings().empty());
}

TEST_CASE("instance without reg-id: a new contact replaces the one of the same Call-ID (sip.md §4)") {
  bench::bench b;
  phone p;
  p.contact = "<sip:alice@192.0.2.1:5062>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact = "<sip:alice@192.0.2.44:5062>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.next(p).status() == 200);
  REQUIRE(b.bindings().size() == 1);
  CHECK(b.bindings()[0].contact == "sip:alice@192.0.2.44:5062");
}

TEST_CASE("instance without reg-id: both contacts of one request stay") {
  bench::bench b;
  phone p;
  p.contact = "<sip:alice@192.0.2.1:5062>;+sip.instance=\"<urn:uuid:2>\", "
              "<sip:alice@192.0.2.2:5062>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  REQUIRE(b.next(p).status() == 200);
  CHECK(b.bindings().size() == 2);
}

TEST_CASE("instance without reg-id: another Call-ID replaces it only if its flow is gone (sip.md §4)") {
  bench::bench b;
  phone p;
  p.transport = sip::transport::tls, p.serial = 5;
  p.contact = "<sip:alice@192.0.2.1:40000;transport=tls>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.call_id = "reconnected", p.serial = 6;
  p.contact = "<sip:alice@192.0.2.1:40001;transport=tls>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.next(p).status() == 200);
  CHECK(b.bindings().size() == 2); // the other connection lives
  b.flows.streams_alive = false;
  p.call_id = "again", p.serial = 7;
  p.contact = "<sip:alice@192.0.2.1:40002;transport=tls>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.next(p).status() == 200);
  CHECK(b.bindings().size() == 1);
}

TEST_CASE("instance without reg-id: a flow through an edge that is dead is gone") {
  bench::bench b;
  phone p;
  p.edge = node(2).head();
  p.contact = "<sip:alice@192.0.2.1:5062>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  CHECK(b.bindings()[0].edge == "node2");
  auto facts = std::make_shared<cluster_facts>(*b.cluster.now);
  auto view = std::make_shared<dht::view>(*facts->view);
  view->members[1].state = dht::member_state::dead;
  view->stamp.hash = 2;
  facts->view = view;
  b.cluster.now = facts;
  p.edge = node(1).head(), p.call_id = "elsewhere";
  p.contact = "<sip:alice@192.0.2.1:5099>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.next(p).status() == 200);
  REQUIRE(b.bindings().size() == 1);
  CHECK(b.bindings()[0].edge == "node1");
}

TEST_CASE("instance without reg-id: of another edge's streams it is known that the phone opened a new one there") {
  bench::bench b;
  phone p;
  p.transport = sip::transport::tls, p.edge = node(2).head(), p.serial = 5, p.source = *endpoint::parse("192.0.2.1:40000");
  p.contact = "<sip:alice@192.0.2.1:40000;transport=tls>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.call_id = "through the first", p.edge = node(1).head();
  p.contact = "<sip:alice@192.0.2.1:40001;transport=tls>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.next(p).status() == 200);
  CHECK(b.bindings().size() == 2); // the stream at node2 may well live
  p.call_id = "through the second again", p.edge = node(2).head(), p.serial = 6, p.source = *endpoint::parse("192.0.2.1:40002");
  p.contact = "<sip:alice@192.0.2.1:40002;transport=tls>;+sip.instance=\"<urn:uuid:2>\"";
  REQUIRE(b.next(p).status() == 200);
  CHECK(b.bindings().size() == 2);
}

TEST_CASE("contact: a phone whose setting was changed to outbound does not leave its former contact behind") {
  bench::bench b;
  phone p = outbound_phone(1);
  p.contact = "<sip:alice@10.0.0.5:5062;ob>;+sip.instance=\"<urn:uuid:1>\"";
  REQUIRE(b.register_with_digest(p).status() == 200);
  p.contact += ";reg-id=1", p.call_id = "with outbound";
  REQUIRE(b.next(p).status() == 200);
  REQUIRE(b.bindings().size() == 1);
  CHECK(b.bindings()[0].reg_id == 1);
}
