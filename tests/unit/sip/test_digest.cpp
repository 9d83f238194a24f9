#include "sip/auth/challenge.hpp"
#include "sip/auth/digest.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace skald;
using namespace skald::sip;

namespace {

digest_credentials rfc_sample(digest_algorithm a) { // RFC 7616 §3.9.1
  digest_credentials c;
  c.username = "Mufasa";
  c.realm = "http-auth@example.org";
  c.uri = "/dir/index.html";
  c.nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
  c.cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
  c.qop = digest_qop::auth;
  c.nc = 1;
  c.nc_text = "00000001";
  c.algorithm = a;
  return c;
}

} // namespace

TEST_CASE("digest: the responses of RFC 7616 §3.9.1, MD5 and SHA-256") {
  for (const auto& [a, expected] :
       {std::pair{digest_algorithm::md5, "8ca523f5e9506fed4657c9700eebdbec"},
        std::pair{digest_algorithm::sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"}}) {
    const digest_credentials c = rfc_sample(a);
    CHECK(digest_response(c, digest_ha1(a, c.username, c.realm, "Circle of Life"), "GET") == expected);
  }
}

TEST_CASE("digest: the response of RFC 2617 §3.5, and the same without qop") {
  digest_credentials c;
  c.username = "Mufasa";
  c.realm = "testrealm@host.com";
  c.uri = "/dir/index.html";
  c.nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
  const std::string ha1 = digest_ha1(digest_algorithm::md5, c.username, c.realm, "Circle Of Life");
  CHECK(digest_response(c, ha1, "GET") == "670fd8c2df070c60b045671b8b24ff02");
  c.qop = digest_qop::auth;
  c.nc_text = "00000001";
  c.cnonce = "0a4f113b";
  CHECK(digest_response(c, ha1, "GET") == "6629fae49393a05397450978507c4ef1");
}

TEST_CASE("digest: a subscriber answers as user and as user@realm, in either algorithm") {
  const subscriber_hashes known = hashes_of_password("alice", "example.com", "secret");
  for (const auto* name : {"alice", "alice@example.com", "alice@EXAMPLE.com"})
    for (const auto a : {digest_algorithm::md5, digest_algorithm::sha256}) {
      digest_credentials c = rfc_sample(a);
      c.realm = "example.com";
      c.username = name;
      // The phone hashes the name as it was typed in; ours is in lower case.
      c.response = digest_response(c, digest_ha1(a, c.username, c.realm, "secret"), "REGISTER");
      const bool typed_as_ours = std::string_view(name).find("EXAMPLE") == std::string_view::npos;
      CHECK(digest_verify(c, "example.com", "REGISTER", &known) == typed_as_ours);
      CHECK_FALSE(digest_verify(c, "example.com", "INVITE", &known));
      CHECK_FALSE(digest_verify(c, "other.com", "REGISTER", &known));
      CHECK_FALSE(digest_verify(c, "example.com", "REGISTER", nullptr));
    }
}

TEST_CASE("digest: hashes that were imported answer for `user` alone") {
  const subscriber_hashes all = hashes_of_password("alice", "example.com", "secret");
  const subscriber_hashes imported{
      .md5_user = all.md5_user, .md5_user_at_realm = {}, .sha256_user = {}, .sha256_user_at_realm = {}};
  digest_credentials c = rfc_sample(digest_algorithm::md5);
  c.realm = "example.com";
  c.username = "alice";
  c.response = digest_response(c, all.md5_user, "INVITE");
  CHECK(digest_verify(c, "example.com", "INVITE", &imported));
  c.username = "alice@example.com";
  CHECK_FALSE(digest_verify(c, "example.com", "INVITE", &imported));
  CHECK(imported.has(digest_algorithm::md5));
  CHECK_FALSE(imported.has(digest_algorithm::sha256));
}

TEST_CASE("digest: nobody gets in by the hash that stands in for the missing ones, nor by auth-int") {
  const subscriber_hashes nothing{};
  for (const auto a : {digest_algorithm::md5, digest_algorithm::sha256}) {
    digest_credentials c = rfc_sample(a);
    c.realm = "example.com";
    c.response = digest_response(c, std::string(a == digest_algorithm::md5 ? 32 : 64, '0'), "INVITE");
    CHECK_FALSE(digest_verify(c, "example.com", "INVITE", &nothing));
    CHECK_FALSE(digest_verify(c, "example.com", "INVITE", nullptr));
    c.qop = digest_qop::auth_int;
    c.response.clear();
    CHECK_FALSE(digest_verify(c, "example.com", "INVITE", &nothing));
  }
}

TEST_CASE("credentials: quoting, escapes, order and case as phones write them") {
  const auto c = parse_digest_credentials(
      "digest  Username=\"al\\\"i,ce\", realm=\"example.com\",nonce=\"n\" ,uri=\"sip:example.com;transport=tcp\",\r\n "
      "response=\"0123456789ABCDEF0123456789abcdef\", ALGORITHM=md5, qop=\"auth\", nc=0000001f, cnonce=\"\", "
      "opaque=\"o\", x=y");
  REQUIRE(c.has_value());
  CHECK(c->username == "al\"i,ce");
  CHECK(c->uri == "sip:example.com;transport=tcp");
  CHECK(c->qop == digest_qop::auth);
  CHECK(c->nc == 31);
  CHECK(c->nc_text == "0000001f");
  CHECK(c->opaque == "o");
  CHECK(c->algorithm == digest_algorithm::md5);
}

TEST_CASE("credentials: what is wrong with them is told apart") {
  const std::string md5 = "response=\"0123456789abcdef0123456789abcdef\"";
  const std::string base = R"(Digest username="a", realm="r", nonce="n", uri="sip:x", )";
  const std::array<std::pair<std::string, errc>, 15> table{{
      {"", errc::malformed},
      {"Basic QWxhZGRpbg==", errc::unsupported},
      {"Bearer token=x", errc::unsupported},
      {"Digest", errc::missing},
      {R"(Digest username="a", realm="r")", errc::missing},
      {base + "response=\"abc\"", errc::malformed},
      {base + "response=\"zz23456789abcdef0123456789abcdef\"", errc::malformed},
      {base + md5 + ", algorithm=SHA-256", errc::malformed}, // too short for it
      {base + md5 + ", algorithm=MD5-sess", errc::unsupported},
      {base + md5 + ", qop=auth", errc::missing},
      {base + md5 + ", qop=auth, nc=1, cnonce=\"c\"", errc::malformed},
      {base + md5 + ", qop=token, nc=00000001, cnonce=\"c\"", errc::unsupported},
      {base + md5 + ", username=\"b\"", errc::malformed}, // which of the two?
      {base + md5 + ", opaque=\"open", errc::malformed},
      {base + md5 + ", userhash=true", errc::unsupported},
  }};
  for (const auto& [text, why] : table) {
    CAPTURE(text);
    const auto c = parse_digest_credentials(text);
    REQUIRE_FALSE(c.has_value());
    CHECK(c.error() == why);
  }
}

TEST_CASE("credentials: the digest's uri has to name the Request-URI's user and host") {
  CHECK(digest_uri_fits("sip:bob@example.com", "sip:bob@EXAMPLE.com:5060;transport=tcp"));
  CHECK(digest_uri_fits("sip:example.com", "sip:example.com"));
  CHECK(digest_uri_fits("sip:%62ob@example.com", "sip:bob@example.com"));
  CHECK_FALSE(digest_uri_fits("sip:bob@example.com", "sip:carol@example.com"));
  CHECK_FALSE(digest_uri_fits("sip:bob@example.com", "sip:bob@example.org"));
  CHECK_FALSE(digest_uri_fits("sip:example.com", "sip:bob@example.com"));
  CHECK_FALSE(digest_uri_fits("/index.html", "sip:bob@example.com"));
}

TEST_CASE("challenge: written as phones expect it, and read back") {
  const digest_challenge plain{.realm = "example.com", .nonce = "abc"};
  CHECK(to_string(plain) == R"(Digest realm="example.com", nonce="abc", algorithm=MD5, qop="auth")");
  const digest_challenge stale{
      .realm = "example.com", .nonce = "abc", .algorithm = digest_algorithm::sha256, .stale = staleness::stale};
  CHECK(to_string(stale) == R"(Digest realm="example.com", nonce="abc", algorithm=SHA-256, qop="auth", stale=true)");
  const auto read = parse_digest_challenge(to_string(stale));
  REQUIRE(read.has_value());
  CHECK(read->realm == "example.com");
  CHECK(read->stale == staleness::stale);
  CHECK(read->algorithm == digest_algorithm::sha256);
  CHECK(parse_digest_challenge(R"(Digest realm="r", nonce="n", qop="auth-int,auth")")->qop_auth);
  CHECK(parse_digest_challenge(R"(Digest realm="r", nonce="n", qop="auth-int")").error() == errc::unsupported);
  CHECK_FALSE(parse_digest_challenge(R"(Digest realm="r", nonce="n")")->qop_auth);
  CHECK(realm_of(R"(Digest nonce="n", realm="our.domain")") == "our.domain");
  CHECK(realm_of(R"(Bearer authz_server="https://x", realm="our.domain")") == "our.domain");
  CHECK(realm_of("nonsense").empty());
}

TEST_CASE("challenge: a subscriber is offered what the domain sets and he has; who has one kind gets that one") {
  using enum digest_algorithm;
  const std::array both{sha256, md5};
  const std::array only_md5{md5};
  const subscriber_hashes all = hashes_of_password("a", "r", "p");
  const subscriber_hashes old{
      .md5_user = all.md5_user, .md5_user_at_realm = {}, .sha256_user = {}, .sha256_user_at_realm = {}};
  const subscriber_hashes young{
      .md5_user = {}, .md5_user_at_realm = {}, .sha256_user = all.sha256_user, .sha256_user_at_realm = {}};
  CHECK(algorithms_to_offer(both, &all) == std::vector{sha256, md5});
  CHECK(algorithms_to_offer(both, &old) == std::vector{md5});
  CHECK(algorithms_to_offer(only_md5, &young) == std::vector{sha256});
  CHECK(algorithms_to_offer(only_md5, nullptr) == std::vector{md5});
  CHECK(algorithms_to_offer({}, nullptr) == std::vector{md5});
}
