#include "certs/sip_peer.hpp"

#include "tests/unit/certs/outside_ca.hpp"
#include "tests/unit/certs/scratch.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::certs;
using namespace skald::test;

namespace {

using names = std::vector<std::string>;

// A cluster whose own CA, and an outside one, stand before the anchors.
struct bench {
  scratch dir;
  outside_ca outside;
  bundle node;
  bench() {
    const unix_ms now = static_cast<unix_ms>(std::time(nullptr)) * 1000;
    (void)init_cluster(dir.path(), "example.com", now);
    node = load_bundle(issue(dir.path(), {.name = "node1"}, now)->path, now).value();
  }
  sip_anchors_ptr anchors(const std::string& pem) const { return sip_anchors::make(pem, node.ca).value(); }
  std::expected<sip_peer, sip_refusal> judge(const certificate_wish& w, sip_end end = sip_end::client) const {
    return anchors(outside.pem())->judge(names{outside.issue(w).der}, end);
  }
};

names identities(const certificate_wish& w) { return sip_identities(outside_ca().issue(w).der); }

} // namespace

TEST_CASE("sip peer: identities are the hosts of sip: URIs, and DNS names only where there is none (RFC 5922 §7.1)") {
  CHECK(identities({.uris = {"sip:Example.ORG"}, .dns = {"gw.example.org"}}) == names{"example.org"});
  CHECK(identities({.uris = {"sip:a.net", "sip:b.net:5061", "SIP:c.net;transport=tls"}}) == names{"a.net", "b.net", "c.net"});
  CHECK(identities({.dns = {"GW.example.org", "sip.example.org"}}) == names{"gw.example.org", "sip.example.org"});
  // A URI with a user part, of another scheme, or without a host is no identity: then the DNS names are.
  CHECK(identities({.uris = {"sip:alice@example.org", "sips:example.org", "urn:x:y", "https://example.org", "sip:"},
                    .dns = {"gw.example.org"}}) == names{"gw.example.org"});
  CHECK(identities({}).empty());
  CHECK(sip_identities("no certificate").empty());
}

TEST_CASE("sip peer: a wildcard names nobody (RFC 5922 §7.2), nor does a name with a null in it") {
  CHECK(identities({.dns = {"*.example.org", ".example.org", "s*.example.org"}}).empty());
  CHECK(identities({.uris = {"sip:*.example.org"}}).empty());
  std::string der = outside_ca().issue({.dns = {"good.exampleX.evil.example"}}).der;
  der[der.find("exampleX") + 7] = '\0';
  CHECK(sip_identities(der).empty());
}

TEST_CASE("sip peer: a certificate under an anchor is believed, with its names and its end") {
  const bench b;
  const auto who = b.judge({.uris = {"sip:carrier.example"}, .dns = {"sbc.carrier.example"}, .until_s = 1800});
  REQUIRE(who.has_value());
  CHECK(who->names == names{"carrier.example"});
  CHECK(who->until / 1000 - std::time(nullptr) <= 1800);
  CHECK(who->until / 1000 - std::time(nullptr) > 1700);
}

TEST_CASE("sip peer: another CA, an expired, an early, a nameless and a broken certificate are refused, each by its reason") {
  const bench b;
  const certificate_wish good{.dns = {"sbc.carrier.example"}};
  CHECK(b.anchors(outside_ca().pem())->judge(names{b.outside.issue(good).der}, sip_end::client).error() == sip_refusal::untrusted);
  CHECK(b.judge({.dns = good.dns, .from_s = -7200, .until_s = -60}).error() == sip_refusal::expired);
  CHECK(b.judge({.dns = good.dns, .from_s = 60, .until_s = 600}).error() == sip_refusal::expired);
  CHECK(b.judge({.dns = {"*.carrier.example"}}).error() == sip_refusal::nameless);
  CHECK(b.anchors(b.outside.pem())->judge(names{"broken"}, sip_end::client).error() == sip_refusal::unreadable);
  CHECK(b.anchors(b.outside.pem())->judge(names{}, sip_end::client).error() == sip_refusal::unreadable);
}

TEST_CASE("sip peer: the extended key usage has to allow that end of TLS, or name sipDomain (RFC 5924 §4)") {
  const bench b;
  const auto with = [&](names purposes, sip_end end) { return b.judge({.dns = {"sbc.carrier.example"}, .purposes = std::move(purposes)}, end); };
  for (const sip_end end : {sip_end::client, sip_end::server}) {
    CHECK(with({}, end).has_value());
    CHECK(with({"1.3.6.1.5.5.7.3.20"}, end).has_value());
    CHECK(with({GNUTLS_KP_EMAIL_PROTECTION}, end).error() == sip_refusal::wrong_usage);
  }
  CHECK(b.judge({.dns = {"sbc.carrier.example"}, .key_usage = GNUTLS_KEY_KEY_AGREEMENT}).error() == sip_refusal::wrong_usage);
  CHECK(b.judge({.dns = {"sbc.carrier.example"}, .key_usage = GNUTLS_KEY_DIGITAL_SIGNATURE}).has_value());
  CHECK(with({GNUTLS_KP_TLS_WWW_CLIENT}, sip_end::client).has_value());
  CHECK(with({GNUTLS_KP_TLS_WWW_CLIENT}, sip_end::server).error() == sip_refusal::wrong_usage);
  CHECK(with({GNUTLS_KP_TLS_WWW_SERVER}, sip_end::client).error() == sip_refusal::wrong_usage);
}

TEST_CASE("sip peer: a node of the own cluster is nobody's peer, even where its CA is an anchor") {
  const bench b;
  const std::string both = b.outside.pem() + pem_encode("CERTIFICATE", b.node.ca);
  CHECK(b.anchors(both)->judge(names{b.node.certificate}, sip_end::client).error() == sip_refusal::own_cluster);
  CHECK(b.anchors(both)->judge(names{b.node.certificate, b.node.ca}, sip_end::server).error() == sip_refusal::own_cluster);
  CHECK(b.anchors(both)->judge(names{b.outside.issue({.dns = {"gw.example.org"}}).der}, sip_end::client).has_value());
}

TEST_CASE("sip peer: a self-signed certificate can itself be the anchor; a file without certificates is an error") {
  const bench b;
  const outside_ca pinned;
  CHECK(b.anchors(b.outside.pem())->judge(names{pinned.der()}, sip_end::client).error() == sip_refusal::untrusted);
  CHECK(b.anchors(pinned.pem())->judge(names{pinned.der()}, sip_end::client).error() == sip_refusal::nameless);
  for (const std::string wrong : {"\n", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"})
    CHECK_FALSE(sip_anchors::make(wrong, b.node.ca).has_value());
  CHECK(sip_anchors::make("", b.node.ca).has_value()); // the machine's
  CHECK(b.anchors("")->judge(names{pinned.der()}, sip_end::client).error() == sip_refusal::untrusted);
}
