// By which name a UA is to find us again (sip.md §2: HOST), and the parameters of our URIs.
#include "cluster.hpp"

#include "roles/proxy/record_route.hpp"
#include "roles/proxy/routes.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

struct host_bench {
  testing::cluster c{1};
  std::string host(sip::transport t, std::string sni, std::string_view named, bool names_in_dns) {
    c.set_facts([&](cluster_facts& f) { f.names_in_dns = names_in_dns; });
    const name_index names(c.node(0).facts_);
    sip::arrival from;
    from.flow = {.transport = t, .local = c.node(0).sip_address(), .remote = *endpoint::parse("192.0.2.1:5062")};
    from.sni = std::move(sni);
    return host_for(c.node(0).env, names, from, named);
  }
};

} // namespace

TEST_CASE("host: the node's name once DNS has it; the address that the UA used before that, or where it named us so") {
  host_bench b;
  CHECK(b.host(sip::transport::udp, "", "example.com", true) == "n1.example.com");
  CHECK(b.host(sip::transport::udp, "", "example.com", false) == "10.0.0.1:5060");
  CHECK(b.host(sip::transport::tcp, "", "10.0.0.1", true) == "10.0.0.1:5060");
}

TEST_CASE("host: on TLS the name of the certificate that the phone checked, never a dead node's") {
  host_bench b;
  CHECK(b.host(sip::transport::tls, "example.com", "example.com", true) == "example.com");
  CHECK(b.host(sip::transport::tls, "n1.example.com", "example.com", true) == "n1.example.com");
  CHECK(b.host(sip::transport::tls, "n9.example.com", "example.com", true) == "example.com");
  CHECK(b.host(sip::transport::tls, "", "example.com", true) == "example.com");
}

TEST_CASE("host: transport always stands in a token URI, udp too; not in sips:") {
  CHECK(token_uri("T", "h", sip::transport::udp, uri_use::record_route, false) == "<sip:T@h;transport=udp;lr>");
  CHECK(token_uri("T", "h", sip::transport::tls, uri_use::path, false) == "<sip:T@h;transport=tls;lr;ob>");
  CHECK(token_uri("T", "h", sip::transport::tls, uri_use::record_route, true) == "<sips:T@h;lr>");
}

TEST_CASE("link route: what is written is read again, and only with a node's name") {
  testing::cluster c{2};
  const name_index names(c.node(0).facts_);
  const link_route r{
      .stage = stage::term, .aor = "sip:bob@example.com", .hop = 2, .edge = "n1", .secure = true, .stamp = {}};
  const std::string text = make_link_route(names, c.node(1).id, r);
  CHECK(text.starts_with("<sip:n2.example.com;lr;stage=term;key="));
  const auto back = read_link_route(names, text);
  REQUIRE(back);
  CHECK(back->stage == stage::term);
  CHECK(back->aor == r.aor);
  CHECK(back->hop == 2);
  CHECK(back->edge == "n1");
  CHECK(back->secure);
  CHECK_FALSE(read_link_route(names, "<sip:evil.example;lr;stage=term>").has_value());
  CHECK_FALSE(read_link_route(names, "<sip:n2.example.com;lr>").has_value());
  CHECK_FALSE(read_link_route(names, "<sip:n2.example.com;lr;stage=dance>").has_value());
}

TEST_CASE("timer C: 181 s without a final answer, renewed by each 1xx but 100; then CANCEL and 408 (RFC 3261 §16.8)") {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  phone& dan = c.add_stranger("dan", "203.0.113.9:5060");
  c.dns["elsewhere.net"] = {{sip::transport::udp, dan.address, {}}};
  alice.register_at(n);
  alice.request(n, "INVITE", "sip:dan@elsewhere.net");
  const auto invite = dan.take_request("INVITE");
  REQUIRE(invite);
  dan.respond(*invite, 180);
  c.advance(seconds(100));
  dan.respond(*invite, 180);
  c.advance(seconds(150));
  CHECK(dan.count("CANCEL") == 0);
  alice.clear();
  c.advance(seconds(40));
  CHECK(dan.count("CANCEL") >= 1);
  CHECK(alice.take_response(408)); // and again, until it is acknowledged
}

TEST_CASE("register: Path carries our token with ob; what names us in a Path from below is cut off, an SBC's stays") {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  alice.register_more = "Supported: path\r\nPath: <sip:10.0.0.1;lr>\r\nPath: <sip:sbc.customer.example;lr>\r\n";
  alice.request(n, "REGISTER", "sip:example.com",
                {.to = "<sip:alice@example.com>", .more = "Expires: 600\r\n" + alice.register_more});
  const auto ok = alice.take_response(200);
  REQUIRE_MESSAGE(ok, c.trace);
  const auto path = ok->values(sip::header::path);
  REQUIRE(path.size() == 2);
  CHECK(path[0].ends_with("@10.0.0.1:5060;transport=udp;lr;ob>"));
  CHECK(path[1] == "<sip:sbc.customer.example;lr>");
}

TEST_CASE("register: a phone that offers to keep its flow alive is told how often, and not pinged (RFC 6223)") {
  testing::cluster c{1};
  test_node& n = c.node(0);
  phone& alice = c.add_phone("alice", "192.0.2.1:5062");
  alice.send_text(
      n, "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKkeep;rport;keep\r\n"
         "Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: k\r\n"
         "CSeq: 1 REGISTER\r\nContact: <sip:alice@192.0.2.1:5062>\r\nContent-Length: 0\r\n\r\n");
  c.settle();
  const auto challenge = alice.take_response(401);
  REQUIRE(challenge);
  CHECK(header_of(*challenge, sip::header::via).find(";keep=25") != std::string::npos);
}
