#include "certs/peer.hpp"
#include "certs/revocation.hpp"
#include "scratch.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

using namespace skald;
using namespace skald::certs;
using test::scratch, test::today, test::one_day;

namespace {
mode_t mode_of(const std::string& path) {
  struct stat info {};
  ::stat(path.c_str(), &info);
  return info.st_mode & 07777;
}
} // namespace

TEST_CASE("a cluster's CA is made once, and its key is its owner's alone") {
  const scratch dir;
  const auto made = init_cluster(dir.path(), "Example.COM", today);
  REQUIRE(made.has_value());
  CHECK(made->domain == "example.com");
  CHECK(mode_of(dir / "ca.key") == 0600);
  CHECK(made->not_after > today + 3650 * one_day);
  const auto again = init_cluster(dir.path(), "example.com", today);
  REQUIRE_FALSE(again.has_value());
  CHECK(again.error().what.find("is there already") != std::string::npos);
}

TEST_CASE("a word that is no domain makes no CA") {
  const scratch dir;
  for (const char* bad : {"", "exa mple.com", "-a.com", "a..b", ".com", "a.", "\xc3\xa9.com"}) {
    CAPTURE(bad);
    CHECK_FALSE(init_cluster(dir / "x", bad, today).has_value());
  }
}

TEST_CASE("the first bundle is the founder's, the next ones are not") {
  const scratch dir;
  REQUIRE(init_cluster(dir.path(), "example.com", today));
  const auto a = issue(dir.path(), {.name = "a", .seeds = {"192.0.2.1:4260"}}, today);
  const auto b = issue(dir.path(), {.name = "b", .roles = {"proxy", "dns"}}, today);
  REQUIRE(a.has_value());
  REQUIRE(b.has_value());
  CHECK(a->founder);
  CHECK_FALSE(b->founder);
  CHECK(mode_of(a->path) == 0600);

  const auto mine = load_bundle(a->path, today);
  REQUIRE(mine.has_value());
  CHECK(mine->name == "a");
  CHECK(mine->domain == "example.com");
  CHECK(mine->founder);
  CHECK(mine->seeds == std::vector<std::string>{"192.0.2.1:4260"});
  CHECK(mine->roles.size() == role_names.size());
  CHECK(mine->id == a->id);
  CHECK(load_bundle(b->path, today)->roles == std::vector<std::string>{"proxy", "dns"});
}

TEST_CASE("a bundle is never overwritten; one that is gone can be issued anew, and that is said") {
  const scratch dir;
  REQUIRE(init_cluster(dir.path(), "example.com", today));
  const auto first = issue(dir.path(), {.name = "a"}, today);
  REQUIRE(first.has_value());
  CHECK_FALSE(first->issued_before);
  CHECK_FALSE(issue(dir.path(), {.name = "a"}, today).has_value());
  std::filesystem::remove(first->path);
  const auto second = issue(dir.path(), {.name = "a"}, today);
  REQUIRE(second.has_value());
  CHECK(second->issued_before);
  CHECK_FALSE(second->founder);
  CHECK(second->id != first->id);
}

TEST_CASE("what cannot be issued is refused with a way out") {
  const scratch dir;
  CHECK_FALSE(issue(dir.path(), {.name = "a"}, today).has_value()); // no CA here
  REQUIRE(init_cluster(dir.path(), "example.com", today));
  CHECK_FALSE(issue(dir.path(), {.name = "a.b"}, today).has_value());
  CHECK_FALSE(issue(dir.path(), {.name = "../a"}, today).has_value());
  CHECK_FALSE(issue(dir.path(), {.name = "a", .seeds = {"has blank"}}, today).has_value());
  const auto role = issue(dir.path(), {.name = "a", .roles = {"king"}}, today);
  REQUIRE_FALSE(role.has_value());
  CHECK(role.error().hint.find("registrar") != std::string::npos);
  CHECK_FALSE(issue(dir.path(), {.name = "a"}, today + 4000 * one_day).has_value()); // the CA has expired
}

TEST_CASE("a description says what the certificate holds") {
  const scratch dir;
  REQUIRE(init_cluster(dir.path(), "example.com", today));
  const auto a = issue(dir.path(), {.name = "a", .roles = {"proxy"}}, today);
  const auto d = describe(read_bundle(a->path).value(), today);
  CHECK(d.dns_names == std::vector<std::string>{"a.example.com", "example.com"});
  CHECK(d.uris == std::vector<std::string>{"sip:example.com", "urn:skald:role:proxy"});
  CHECK(d.issuer == "skald CA example.com");
  CHECK(d.problem.empty());
  CHECK(describe(read_bundle(a->path).value(), today + 400 * one_day).problem.find("expired") != std::string::npos);
  CHECK(date_text(1'800'000'000'000) == "2027-01-15T08:00:00Z");
}

TEST_CASE("a revocation names all certificates of a node, and those revoked before") {
  const scratch dir;
  REQUIRE(init_cluster(dir.path(), "example.com", today));
  for (const char* name : {"a", "b", "c"}) REQUIRE(issue(dir.path(), {.name = name}, today));
  const auto a = load_bundle(dir / "a.pem", today).value(), b = load_bundle(dir / "b.pem", today).value(), c = load_bundle(dir / "c.pem", today).value();
  const auto judge = [&](const bundle& who, const std::string& crl) {
    const std::string_view chain[] = {who.certificate};
    return check_peer(chain, {a.ca, a.domain, crl}, today);
  };
  const auto first = revoke(dir.path(), "b", today);
  REQUIRE(first.has_value());
  CHECK(first->certificates == 1);
  CHECK_FALSE(first->before);
  CHECK(judge(a, first->crl).has_value());
  CHECK(judge(b, first->crl).error() == refusal::revoked);
  const auto second = revoke(dir.path(), "C", today + 1000); // names have no case
  REQUIRE(second.has_value());
  CHECK(judge(b, second->crl).error() == refusal::revoked);
  CHECK(judge(c, second->crl).error() == refusal::revoked);
  const auto one = read_revocations(first->crl, a.ca), two = read_revocations(second->crl, a.ca);
  REQUIRE(one.has_value());
  REQUIRE(two.has_value());
  CHECK(one->serials.size() == 1);
  CHECK(two->serials.size() == 2);
  CHECK(one->number == static_cast<std::uint64_t>(today));
  CHECK(two->number > one->number);
  const auto again = revoke(dir.path(), "b", today + 9000);
  REQUIRE(again.has_value());
  CHECK(again->before);
  CHECK(read_revocations(again->crl, a.ca)->number == two->number); // nothing new: nobody has to take it
  CHECK_FALSE(revoke(dir.path(), "nobody", today).has_value());
}

TEST_CASE("a revocation list is read only if this CA signed it, unaltered") {
  const scratch ours, theirs;
  for (const scratch* d : {&ours, &theirs}) {
    REQUIRE(init_cluster(d->path(), "example.com", today));
    REQUIRE(issue(d->path(), {.name = "a"}, today));
  }
  const auto mine = load_bundle(ours / "a.pem", today).value();
  const auto made = revoke(theirs.path(), "a", today).value();
  CHECK(read_revocations(made.crl, mine.ca).error() == errc::not_authentic);
  CHECK(read_revocations("no list", mine.ca).error() == errc::malformed);
  CHECK(read_revocations(std::string(crl_bytes_max + 1, 'x'), mine.ca).error() == errc::too_large);
  std::string good = revoke(ours.path(), "a", today).value().crl;
  REQUIRE(read_revocations(good, mine.ca).has_value());
  for (std::size_t n = 0; n < good.size(); n += 7) CHECK_FALSE(read_revocations(good.substr(0, n), mine.ca).has_value());
  good[good.size() - 3] = static_cast<char>(good[good.size() - 3] ^ 1);
  CHECK_FALSE(read_revocations(good, mine.ca).has_value());
}

TEST_CASE("a renewed bundle has the same key, names and id, and a new time; the old certificate stays good until it is revoked") {
  const scratch dir;
  REQUIRE(init_cluster(dir.path(), "example.com", today));
  REQUIRE(issue(dir.path(), {.name = "a", .seeds = {"192.0.2.1:4260"}, .roles = {"proxy"}}, today));
  REQUIRE(issue(dir.path(), {.name = "b"}, today));
  const auto old = load_bundle(dir / "a.pem", today).value();
  const auto later = today + 300 * one_day;
  const auto made = renew(dir.path(), {.name = "a"}, later);
  REQUIRE(made.has_value());
  const auto fresh = load_bundle(dir / "a.pem", later).value();
  CHECK(mode_of(dir / "a.pem") == 0600);
  CHECK(fresh.id == old.id);
  CHECK(fresh.key == old.key);
  CHECK(fresh.founder == old.founder);
  CHECK(fresh.roles == old.roles);
  CHECK(fresh.seeds == old.seeds);
  CHECK(fresh.not_after > old.not_after + 299 * one_day);
  CHECK_FALSE(renew(dir.path(), {.name = "b", .path = dir / "a.pem"}, later).has_value()); // another's
  CHECK_FALSE(renew(dir.path(), {.name = "nobody"}, later).has_value());
  // Revoking the name revokes both; the key is not renewed again.
  const auto crl = revoke(dir.path(), "a", later).value();
  CHECK(crl.certificates == 2);
  CHECK_FALSE(renew(dir.path(), {.name = "a"}, later).has_value());
}
