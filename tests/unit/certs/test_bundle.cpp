#include "scratch.hpp"

#include "certs/peer.hpp"
#include "certs/credentials.hpp"
#include "certs/signature.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

using namespace skald;
using namespace skald::certs;
using test::scratch, test::today, test::one_day, test::blocks_of, test::write_bundle;

namespace {

struct two_clusters {
  scratch ours, theirs;
  std::string a, foreign;
  two_clusters() {
    REQUIRE(init_cluster(ours.path(), "example.com", today));
    REQUIRE(init_cluster(theirs.path(), "example.com", today));
    a = issue(ours.path(), {.name = "a"}, today)->path;
    foreign = issue(theirs.path(), {.name = "a"}, today)->path;
  }
};

void check_error(const std::string& path, unix_ms now, std::string_view part) {
  const auto loaded = load_bundle(path, now);
  CAPTURE(part);
  REQUIRE_FALSE(loaded.has_value());
  CAPTURE(loaded.error().what);
  CHECK(loaded.error().what.find(part) != std::string::npos);
  CHECK(loaded.error().what.find(path) != std::string::npos);
  CHECK(loaded.error().what.find("PRIVATE KEY-----") == std::string::npos);
}

} // namespace

TEST_CASE("each thing that can be wrong with a bundle has its own sentence") {
  const two_clusters c;
  const auto good = blocks_of(c.a), other = blocks_of(c.foreign);
  const std::string x = c.ours / "x.pem";
  const auto with = [&](std::size_t i, const std::string& bytes) {
    auto blocks = good;
    blocks[i].bytes = bytes;
    return blocks;
  };
  const auto without = [&](std::size_t i) {
    auto blocks = good;
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(i));
    return blocks;
  };
  check_error(c.a, today + 366 * one_day, "expired on");
  check_error(c.a, today - one_day, "not yet valid");
  check_error(c.ours / "nothing.pem", today, "cannot be read");
  check_error(c.ours.path(), today, "not a regular file");
  check_error(write_bundle(x, with(2, other[2].bytes)), today, "wrong CA");
  check_error(write_bundle(x, with(2, good[1].bytes)), today, "wrong CA");
  check_error(write_bundle(x, with(0, other[0].bytes)), today, "not that of its certificate");
  check_error(write_bundle(x, with(0, "nonsense")), today, "private key is damaged");
  check_error(write_bundle(x, with(1, "nonsense")), today, "certificates are damaged");
  check_error(write_bundle(x, with(3, "{}")), today, "SKALD CLUSTER");
  check_error(write_bundle(x, with(3, R"({"version":1,"domain":"other.org","seeds":[],"founder":false})")), today, "another domain");
  check_error(write_bundle(x, without(0)), today, "PRIVATE KEY is missing");
  check_error(write_bundle(x, without(1)), today, "CERTIFICATE of the CA is missing");
  check_error(write_bundle(x, without(3)), today, "SKALD CLUSTER is missing");
  check_error(write_bundle(x, with(1, test::one_purpose_certificate(c.ours.path(), load_bundle(c.a, today).value(), today))), today, "wrong usage");
  check_error(write_bundle(x, good, 0640), today, "others can read it (mode 0640)");
  check_error(write_bundle(x, {}), today, "PRIVATE KEY is missing");
}

TEST_CASE("a bundle with text around its blocks and unknown members is taken") {
  const two_clusters c;
  auto blocks = blocks_of(c.a);
  blocks[3].bytes = R"({"version":1,"domain":"Example.com","later":[1]})";
  const auto b = load_bundle(write_bundle(c.ours / "x.pem", blocks), today);
  REQUIRE(b.has_value());
  CHECK_FALSE(b->founder);
  CHECK(b->seeds.empty());
}

TEST_CASE("a peer is judged by one CA, the time and both usages") {
  const two_clusters c;
  const auto a = load_bundle(c.a, today).value(), foreign = load_bundle(c.foreign, today).value();
  const trust ours = trust_of(a);
  const auto judge = [&](std::string_view der, unix_ms now) { return check_peer(std::span(&der, 1), ours, now); };
  const auto good = judge(a.certificate, today);
  REQUIRE(good.has_value());
  CHECK(good->id == a.id);
  CHECK(good->name == "a");
  CHECK(good->roles == a.roles);
  CHECK(judge(foreign.certificate, today).error() == refusal::foreign_ca);
  CHECK(judge("nonsense", today).error() == refusal::foreign_ca);
  CHECK(judge(a.certificate, today + 366 * one_day).error() == refusal::expired);
  CHECK(judge(a.certificate, today - one_day).error() == refusal::not_yet_valid);
  CHECK(judge(a.ca, today).error() == refusal::wrong_usage);
  CHECK(judge(test::one_purpose_certificate(c.ours.path(), a, today), today).error() == refusal::wrong_usage);
  CHECK(check_peer({}, ours, today).error() == refusal::no_certificate);
}

TEST_CASE("a CRL of the same CA refuses whom it names; another CA's says nothing") {
  const two_clusters c;
  const auto a = load_bundle(c.a, today).value();
  const auto b = load_bundle(issue(c.ours.path(), {.name = "b"}, today)->path, today).value();
  const auto judge = [&](const bundle& who, const std::string& crl) {
    const std::string_view chain[] = {who.certificate};
    return check_peer(chain, {a.ca, a.domain, crl}, today);
  };
  const auto crl = test::revocation_of(c.ours.path(), b, today);
  CHECK(judge(a, crl).has_value());
  REQUIRE_FALSE(judge(b, crl).has_value());
  CHECK(judge(b, crl).error() == refusal::revoked);
  CHECK(judge(b, test::revocation_of(c.theirs.path(), b, today)).has_value());
  CHECK(judge(b, "nonsense").has_value());
}

TEST_CASE("a signature is its author's and covers every byte") {
  const two_clusters c;
  const auto a = load_bundle(c.a, today).value(), other = load_bundle(c.foreign, today).value();
  const auto signature = sign(a, "a record");
  CHECK(verify(a.certificate, "a record", signature).has_value());
  CHECK(verify(a.certificate, "A record", signature).error() == errc::not_authentic);
  CHECK(verify(other.certificate, "a record", signature).error() == errc::not_authentic);
  CHECK(verify(a.certificate, "a record", "").error() == errc::not_authentic);
  CHECK(verify("x", "a record", signature).error() == errc::malformed);
}

TEST_CASE("PEM with a damaged block is refused, not guessed at") {
  CHECK(pem_decode("").value().empty());
  CHECK(pem_decode("words").value().empty());
  CHECK(pem_decode(pem_encode("A", "xyz")).value()[0].bytes == "xyz");
  CHECK_FALSE(pem_decode("-----BEGIN A-----\nQUJD\n").has_value());
  CHECK_FALSE(pem_decode("-----BEGIN A-----\n?!\n-----END A-----\n").has_value());
  CHECK_FALSE(pem_decode("-----BEGIN A").has_value());
}
