#include "base/crypto.hpp"
#include "roles/core/import_csv.hpp"
#include "roles/core/subscriber.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {

std::string md5_hex(std::string_view text) { return to_hex(crypto::md5(text)); }
std::string sha256_hex(std::string_view text) { return to_hex(crypto::sha256(text)); }

csv_import importer() {
  return csv_import("example.com", [](std::string_view d) { return d == "example.com"; }, 1000);
}

} // namespace

TEST_CASE("subscriber: a password gives hashes of user and of user@realm, for MD5 and SHA-256") {
  const subscriber s = make_subscriber("sip:alice@example.com", "wonder", 1000);
  CHECK(s.hashes.md5_user == md5_hex("alice:example.com:wonder"));
  CHECK(s.hashes.md5_user_at_realm == md5_hex("alice@example.com:example.com:wonder"));
  CHECK(s.hashes.sha256_user == sha256_hex("alice:example.com:wonder"));
  CHECK(s.hashes.sha256_user_at_realm == sha256_hex("alice@example.com:example.com:wonder"));
  CHECK(encode(s).find("wonder") == std::string::npos);
}

TEST_CASE("subscriber: what was encoded decodes to the same; hashes of a wrong size are refused") {
  subscriber s = make_subscriber("sip:alice@example.com", "wonder", 1000);
  s.present_any = true;
  s.aliases = {"sip:+4930123@example.com", "sip:info@example.com"};
  const auto back = decode_subscriber(encode(s));
  REQUIRE(back.has_value());
  CHECK(*back == s);
  CHECK(back->owns("sip:info@example.com"));
  CHECK_FALSE(back->owns("sip:bob@example.com"));
  s.hashes.md5_user.resize(30);
  CHECK_FALSE(decode_subscriber(encode(s)).has_value());
  CHECK_FALSE(decode_subscriber("").has_value());
}

TEST_CASE("subscriber: imported hashes are of user alone, and of the kinds that were given") {
  const std::string md5 = "0123456789abcdef0123456789ABCDEF";
  const auto s = make_subscriber_from_ha1("sip:bob@example.com", md5, "", 1000);
  REQUIRE(s.has_value());
  CHECK(s->hashes.has(sip::digest_algorithm::md5));
  CHECK_FALSE(s->hashes.has(sip::digest_algorithm::sha256));
  CHECK(s->hashes.md5_user_at_realm.empty());
  const auto wrong = make_subscriber_from_ha1("sip:bob@example.com", md5 + "00", "", 1000);
  REQUIRE_FALSE(wrong.has_value());
  CHECK(wrong.error().what.find(md5) == std::string::npos);
  CHECK_FALSE(make_subscriber_from_ha1("sip:bob@example.com", "", "", 1000).has_value());
}

TEST_CASE("subscriber: a new password changes the hashes only") {
  subscriber s = make_subscriber("sip:alice@example.com", "old", 1000);
  s.present_any = true;
  set_password(s, "new");
  CHECK(s.hashes.md5_user == md5_hex("alice:example.com:new"));
  CHECK(s.present_any);
  CHECK(s.created == 1000);
}

TEST_CASE("subscriber: people write AoRs in several ways") {
  for (const std::string_view text : {"alice", "alice@example.com", "sip:alice@Example.com", "sips:alice@example.com:5061"}) {
    const auto aor = read_aor(text, "example.com");
    REQUIRE_MESSAGE(aor.has_value(), text);
    CHECK(*aor == "sip:alice@example.com");
  }
  for (const std::string_view text : {"", "@example.com", "sip:example.com", "alice@", "a b@example.com"})
    CHECK_FALSE_MESSAGE(read_aor(text, "example.com").has_value(), text);
  CHECK(user_of("sip:alice@example.com") == "alice");
  CHECK(domain_of("sip:alice@example.com") == "example.com");
}

TEST_CASE("subscriber: the record under its key is found again") {
  const subscriber s = make_subscriber("sip:alice@example.com", "wonder", 1000);
  const dht::change c = put_subscriber(s);
  dht::record r;
  r.item = c.item;
  r.value = c.value;
  CHECK(subscriber_in(std::vector{r}) == s);
  CHECK_FALSE(subscriber_in({}).has_value());
  CHECK(delete_subscriber().remove);
}

TEST_CASE("import: aor,password by its header line; bad rows are reported with their number, the rest is taken") {
  auto from = importer();
  const auto got = import_csv("\xef\xbb\xbf" "AoR,Password\r\n"
                              "alice@example.com,wonder\r\n"
                              "\n"
                              "bob,\"with, comma and \"\"quote\"\"\"\n"
                              "carol@example.org,secret-of-carol\n"
                              "dave,\n"
                              "eve,a,b\n"
                              "frank,\"open\n"
                              "sip:grace@example.com,last",
                              from);
  REQUIRE(got.rows.size() == 3);
  CHECK(got.rows[0].who == make_subscriber("sip:alice@example.com", "wonder", 1000));
  CHECK(got.rows[0].line == 2);
  CHECK(got.rows[1].who == make_subscriber("sip:bob@example.com", "with, comma and \"quote\"", 1000));
  CHECK(got.rows[2].who.aor == "sip:grace@example.com");
  REQUIRE(got.errors.size() == 4);
  CHECK(got.errors[0].line == 5);
  CHECK(got.errors[0].what.find("secret-of-carol") == std::string::npos);
  CHECK(got.errors[1].line == 6);
  CHECK(got.errors[2].line == 7);
  CHECK(got.errors[3].line == 8);
}

TEST_CASE("import: aor,ha1-md5[,ha1-sha256], columns in any order, the last one may be missing") {
  auto from = importer();
  const std::string md5(32, 'a'), sha(64, 'b');
  const auto got = import_csv("ha1-md5,aor,ha1-sha256\n" + md5 + ",alice," + sha + "\n" + md5 + ",bob\n" + md5 + "a,carol," + sha, from);
  REQUIRE(got.rows.size() == 2);
  CHECK(got.rows[0].who.hashes.has(sip::digest_algorithm::sha256));
  CHECK_FALSE(got.rows[1].who.hashes.has(sip::digest_algorithm::sha256));
  REQUIRE(got.errors.size() == 1);
  CHECK(got.errors[0].line == 4);
}

TEST_CASE("import: without a header line that says what the columns are nothing is taken") {
  for (const std::string_view header : {"alice,wonder", "aor", "aor,password,ha1-md5", "aor,aor,password", "password"}) {
    auto from = importer();
    const auto got = import_csv(std::string(header) + "\nbob@example.com,x\n", from);
    CHECK_MESSAGE(got.rows.empty(), header);
    CHECK(from.hopeless());
    CHECK(got.errors.size() == 2);
  }
}
