#include "base/encoding.hpp"
#include "sip/transaction/branch.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::sip;

namespace {

const key_ring keys({{.id = 7, .made = 0, .secret = std::string(32, 'k')},
                     {.id = 8, .made = 100'000, .secret = std::string(32, 'l')}});
const branch_parts parts{.worker = 3, .serial = 0x123456789abcdef0, .loop_hash = 0xdeadbeef};

} // namespace

TEST_CASE("branch: it begins with the cookie and tells what was put in, to every node of the cluster") {
  for (const unix_ms now : {50'000, 200'000}) {
    const std::string text = make_branch(keys, now, parts);
    CHECK(text.starts_with("z9hG4bK"));
    CHECK(text.size() == 38);
    const auto opened = open_branch(text, keys);
    REQUIRE(opened.has_value());
    CHECK(*opened == parts);
  }
  CHECK(make_branch(keys, 50'000, parts) != make_branch(keys, 200'000, parts));
}

TEST_CASE("branch: another cluster's, a changed one and a foreign one are not ours") {
  const std::string text = make_branch(keys, 50'000, parts);
  const key_ring others({{.id = 7, .made = 0, .secret = std::string(32, 'x')}});
  CHECK(open_branch(text, others).error() == errc::not_authentic);
  CHECK(open_branch(text, key_ring{}).error() == errc::not_authentic);
  const std::string bytes = *from_base64url(text.substr(7));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    CHECK_FALSE(open_branch("z9hG4bK" + to_base64url(changed), keys).has_value());
  }
  for (const auto* foreign : {"", "z9hG4bK", "z9hG4bK776asdhds", "z9hG4bK!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!", "1"})
    CHECK(open_branch(foreign, keys).error() == errc::malformed);
}

TEST_CASE("branch: without a key it is still valid SIP") {
  const std::string text = make_branch(key_ring{}, 0, parts);
  CHECK(text.starts_with("z9hG4bK"));
  CHECK_FALSE(open_branch(text, keys).has_value());
}
