#include "roles/core/names.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {

facts_ptr facts_of_two_nodes() {
  auto view = std::make_shared<dht::view>();
  for (std::uint8_t i = 1; i <= 2; ++i) {
    dht::member m;
    m.id.bytes.fill(i);
    m.state = i == 1 ? dht::member_state::active : dht::member_state::dead;
    m.body.version = 1;
    m.body.name = "node" + std::to_string(i);
    m.body.addresses = {*ip_address::parse("198.51.100." + std::to_string(i))};
    view->members.push_back(m);
  }
  view->self = view->members[0].id;
  auto facts = std::make_shared<cluster_facts>();
  facts->view = view;
  facts->config = std::make_shared<settings>(read_settings("example.com", {}));
  return facts;
}

host_kind kind(const name_index& n, std::string_view uri) {
  const auto u = sip::parse_uri(uri);
  REQUIRE(u);
  return n.kind_of(u->host, u->port);
}

} // namespace

TEST_CASE("names: domains, nodes and addresses are ours, dead nodes' too") {
  const name_index n(facts_of_two_nodes());
  CHECK(kind(n, "sip:EXAMPLE.com") == host_kind::domain);
  CHECK(kind(n, "sip:Node1.example.com") == host_kind::node);
  CHECK(kind(n, "sip:node2.example.com") == host_kind::node);
  CHECK(kind(n, "sip:node3.example.com") == host_kind::foreign);
  CHECK(kind(n, "sip:198.51.100.2") == host_kind::address);
  CHECK(kind(n, "sip:198.51.100.2:5061") == host_kind::address);
  CHECK(kind(n, "sip:198.51.100.2:5070") == host_kind::foreign); // a phone on the same address
  CHECK(kind(n, "sip:elsewhere.net") == host_kind::foreign);
}

TEST_CASE("names: node names and addresses stand for the default domain") {
  const name_index n(facts_of_two_nodes());
  const auto aor = [&](std::string_view text) { return n.aor_of(*sip::parse_uri(text)).value_or("none"); };
  CHECK(aor("sip:alice@example.com:5060;transport=tcp") == "sip:alice@example.com");
  CHECK(aor("sip:alice@node1.example.com") == "sip:alice@example.com");
  CHECK(aor("sip:alice@198.51.100.1") == "sip:alice@example.com");
  CHECK(aor("tel:+1-555-0100") == "sip:+15550100@example.com");
  CHECK(aor("sip:alice@elsewhere.net") == "none");
  CHECK(aor("sip:example.com") == "none");
}

TEST_CASE("names: members by name and by the head of their id") {
  const name_index n(facts_of_two_nodes());
  CHECK(n.host_of_self() == "node1.example.com");
  REQUIRE(n.member_of_host("NODE2.example.com") != nullptr);
  CHECK(n.member_of_head(n.facts()->view->self.head())->body.name == "node1");
  CHECK(n.member_of_head(42) == nullptr);
}
