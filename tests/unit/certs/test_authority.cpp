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
