#include "node/cluster/role_memory.hpp"
#include "node/disk/state_dir.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <unistd.h>

using namespace skald::node;
namespace fs = std::filesystem;

namespace {

struct directory {
  fs::path path = fs::temp_directory_path() / ("skald-roles-" + std::to_string(::getpid()));
  directory() { fs::create_directory(path); }
  ~directory() { fs::remove_all(path); }
};

using list = std::vector<std::string>;

} // namespace

TEST_CASE("roles kept: what was set holds over the same configuration, in whatever order, and yields to another") {
  directory d;
  CHECK_FALSE(kept_roles(d.path, {"proxy", "dns"}));
  REQUIRE(keep_roles(d.path, {"registrar"}, {"proxy", "dns"}));
  CHECK(kept_roles(d.path, {"proxy", "dns"}) == list{"registrar"});
  CHECK(kept_roles(d.path, {"dns", "proxy"}) == list{"registrar"});
  CHECK_FALSE(kept_roles(d.path, {}));
  CHECK_FALSE(kept_roles(d.path, {"proxy"}));
  CHECK_FALSE(kept_roles(d.path, {"auto"}));
  REQUIRE(keep_roles(d.path, {"auto"}, {}));
  CHECK(kept_roles(d.path, {}) == list{"auto"});
  REQUIRE(forget_roles(d.path));
  REQUIRE(forget_roles(d.path)); // twice is harmless
  CHECK_FALSE(kept_roles(d.path, {}));
}

TEST_CASE("roles kept: a damaged file is no reason not to start: the configured roles hold") {
  directory d;
  for (const char* text : {"", "{", "[]", "7", R"({"set":["proxy"]})", R"({"set":"proxy","configured":[]})", R"({"set":[1],"configured":[]})",
                           R"({"set":[],"configured":[]})"}) {
    CAPTURE(text);
    REQUIRE(write_file(d.path.string() + "/roles.json", text));
    CHECK_FALSE(kept_roles(d.path, {}));
  }
  CHECK_FALSE(keep_roles((d.path / "nowhere").string(), {"proxy"}, {}));
}
