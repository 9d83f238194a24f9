#include "roles/core/settings.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

TEST_CASE("settings: with nothing stored they are the documented defaults, the domain is the certificate's") {
  const settings s = read_settings("Example.COM", {});
  CHECK(s.default_domain == "example.com");
  CHECK(s.domains == std::vector<std::string>{"example.com"});
  CHECK(s.digest_algorithms == std::vector<std::string>{"MD5"});
  CHECK(s.inbound == inbound_policy::all);
  CHECK(s.min_copies == 2);
  CHECK(s.ring_seconds == 180);
  CHECK(s.grant_min_s == 60);
  CHECK(s.grant_max_s == 3600);
}

TEST_CASE("settings: further domains stand behind the cluster's own, in lower case and once") {
  const settings s = read_settings("example.com", {{"domains", "Example.org, example.com example.org,sip.example.net"}});
  CHECK(s.domains == std::vector<std::string>{"example.com", "example.org", "sip.example.net"});
  CHECK(s.serves("EXAMPLE.ORG"));
  CHECK_FALSE(s.serves("example.edu"));
}

TEST_CASE("settings: a stored value that does not parse keeps its default") {
  const settings s = read_settings("example.com", {{"min_copies", "many"}, {"profile", "wan"}, {"no_such_key", "1"}});
  CHECK(s.min_copies == 2);
  CHECK(s.profile == "wan");
}

TEST_CASE("settings: the shortest grant is never above the longest") {
  const settings s = read_settings("example.com", {{"grant_min_s", "900"}, {"grant_max_s", "300"}});
  CHECK(s.grant_min_s == 300);
}

TEST_CASE("settings: every known key takes its own default") {
  for (const setting_info& info : known_settings()) {
    CAPTURE(info.key);
    CHECK_FALSE(info.help.empty());
    CHECK(check_setting(info.key, info.default_text).has_value());
  }
}

TEST_CASE("settings: a wrong value is refused with what it has to be") {
  for (const auto& [key, value] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"min_copies", "4"}, {"min_copies", "-1"}, {"min_copies", ""}, {"profile", "moon"}, {"hide_users", "perhaps"},
           {"digest_algorithms", "MD4"}, {"digest_algorithms", ""}, {"domains", "exa mple..com"}, {"domains", "10.0.0.1"},
           {"ring_seconds", "1e3"}, {"service_route", "sip:proxy.example.com"}, {"service_route", "<sip:p.example.com>"},
           {"peers", "sip:gateway"}, {"dns.server", "ns.example.com"}, {"dns.tsig.algorithm", "rot13"}, {"inbound", "none"},
           {"grant_min_s", "1"}}) {
    CAPTURE(key);
    const auto checked = check_setting(key, value);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().what.find("has to be") != std::string::npos);
  }
}

TEST_CASE("settings: peers are addresses and TLS names; each of them that cannot be one is named, with why") {
  const settings s = read_settings("example.com", {{"peers", "SBC.Carrier.example, 2001:DB8:0::1,192.0.2.7 sbc.carrier.example gw"}});
  CHECK(s.peer_names == std::vector<std::string>{"gw", "sbc.carrier.example"});
  CHECK(s.peer_addresses.size() == 2);
  CHECK(s.is_peer(*ip_address::parse("2001:db8::1")));
  CHECK(s.is_peer(*ip_address::parse("192.0.2.7")));
  CHECK_FALSE(s.is_peer(*ip_address::parse("192.0.2.8")));
  CHECK(s.is_peer("gw"));
  CHECK_FALSE(s.is_peer("carrier.example"));
  CHECK_FALSE(s.is_peer("x.sbc.carrier.example"));
  for (const auto& [wrong, why] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"*.carrier.example", "wildcard"}, {"192.0.2.300", "neither"}, {"10.0.0.0/8", "networks"}, {"sip:gw.example", "without sip:"},
           {"gw.example:5061", "port"}, {"a_b..example", "no host name"}, {".example", "no host name"}}) {
    CAPTURE(wrong);
    const auto checked = check_setting("peers", "good.example, " + std::string(wrong));
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().hint.find(wrong) != std::string::npos);
    CHECK(checked.error().hint.find(why) != std::string::npos);
  }
}

TEST_CASE("settings: right values are taken") {
  for (const auto& [key, value] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"digest_algorithms", "SHA-256,MD5"}, {"hide_users", "on"}, {"service_route", "<sip:p.example.com;lr>"},
           {"peers", "192.0.2.7, gw.example.net, 2001:db8::1"}, {"dns.server", "192.0.2.53:5353"},
           {"dns.server", "192.0.2.53"}, {"dns.tsig.name", "skald-key."}, {"dns.tsig.secret", "c2VjcmV0"}})
    CHECK_MESSAGE(check_setting(key, value).has_value(), key);
}

TEST_CASE("settings: an unknown key gets the nearest known one as a hint, or none if nothing is near") {
  CHECK(nearest_key("min_copys") == "min_copies");
  CHECK(nearest_key("grant_max") == "grant_max_s");
  CHECK(nearest_key("digest_algorithm") == "digest_algorithms");
  CHECK(nearest_key("zzzzzzzz") == "");
  const auto checked = check_setting("dns.sever", "x");
  REQUIRE_FALSE(checked.has_value());
  CHECK(checked.error().hint.find("dns.server") != std::string::npos);
}

TEST_CASE("settings: a secret never comes back in an error; certificates have their own command") {
  const auto secret = check_setting("dns.tsig.secret", "hunter2!!");
  REQUIRE_FALSE(secret.has_value());
  CHECK(secret.error().what.find("hunter2") == std::string::npos);
  const auto tls = check_setting("tls.key", "x");
  REQUIRE_FALSE(tls.has_value());
  CHECK(tls.error().hint.find("skald tls set") != std::string::npos);
}
