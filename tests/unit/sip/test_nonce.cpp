#include "sip/auth/nc_window.hpp"
#include "sip/auth/nonce.hpp"

#include "base/encoding.hpp"
#include "base/key_trust.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace skald;
using namespace skald::sip;

namespace {

constexpr unix_ms now = 1'700'000'000'000;
const cluster_key one{.id = 11, .made = now - 100'000, .secret = std::string(32, 'a')};
const cluster_key two{.id = 12, .made = now, .secret = std::string(32, 'b')};
const key_ring keys({one, two});

} // namespace

TEST_CASE("nonce: fresh for 300 s on every node that has the key, then stale") {
  seeded_rng rng(1);
  const std::string n = make_nonce(keys, now, rng, "example.com");
  CHECK(n.size() == 43);
  CHECK(check_nonce(n, keys, now, "example.com").verdict == nonce_verdict::fresh);
  CHECK(check_nonce(n, keys, now, "example.com").made == now);
  CHECK(check_nonce(n, key_ring({one}), now + 300'000, "example.com").verdict == nonce_verdict::fresh);
  CHECK(check_nonce(n, keys, now + 300'001, "example.com").verdict == nonce_verdict::stale);
  CHECK(check_nonce(n, keys, now - 1'000, "example.com").verdict == nonce_verdict::fresh); // a clock behind the maker's
  CHECK(check_nonce(n, keys, now - 400'000, "example.com").verdict == nonce_verdict::stale);
}

TEST_CASE("nonce: of a key that is gone it is stale, whatever its time") {
  seeded_rng rng(1);
  const std::string n = make_nonce(keys, now, rng, "example.com");
  CHECK(check_nonce(n, key_ring({two}), now, "example.com").verdict == nonce_verdict::stale);
  CHECK(check_nonce(n, key_ring{}, now, "example.com").verdict == nonce_verdict::stale);
  CHECK(make_nonce(key_ring{}, now, rng, "example.com").empty());
}

TEST_CASE("nonce: another realm's, a changed one and a foreign one are forged") {
  seeded_rng rng(1);
  const std::string n = make_nonce(keys, now, rng, "example.com");
  CHECK(check_nonce(n, keys, now, "example.org").verdict == nonce_verdict::forged);
  const std::string bytes = *from_base64url(n);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    const bool key_id = i >= 12 && i < 16;
    const auto check = check_nonce(to_base64url(changed), keys, now, "example.com");
    CHECK((key_id || check.verdict == nonce_verdict::forged));
    CHECK(check.verdict != nonce_verdict::fresh);
  }
  for (const auto* text : {"", "abc", "4c2bf8a1", "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"})
    CHECK(check_nonce(text, keys, now, "example.com").verdict == nonce_verdict::forged);
}

TEST_CASE("nonce: two of one millisecond differ, and so do their ids") {
  seeded_rng rng(1);
  std::set<std::string> texts;
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string n = make_nonce(keys, now, rng, "r");
    texts.insert(n);
    ids.insert(check_nonce(n, keys, now, "r").id);
  }
  CHECK(texts.size() == 1000);
  CHECK(ids.size() == 1000);
}

TEST_CASE("nc window: each count is good once, in any order, within 64 of the highest") {
  nc_window w;
  CHECK(w.take(0) == nc_verdict::used);
  CHECK(w.take(1) == nc_verdict::first_use);
  CHECK(w.take(1) == nc_verdict::used);
  CHECK(w.take(70) == nc_verdict::first_use);
  CHECK(w.look(69) == nc_verdict::first_use);
  CHECK(w.take(69) == nc_verdict::first_use);
  CHECK(w.take(69) == nc_verdict::used);
  CHECK(w.take(7) == nc_verdict::first_use); // 63 below
  CHECK(w.take(6) == nc_verdict::used);      // out of the window
  CHECK(w.take(0xffffffff) == nc_verdict::first_use);
  CHECK(w.take(70) == nc_verdict::used);
}

TEST_CASE("nc window: a nonce used without a count is used up, and one with counts is no good without") {
  nc_window w;
  CHECK(w.take_whole() == nc_verdict::first_use);
  CHECK(w.take_whole() == nc_verdict::used);
  CHECK(w.take(1) == nc_verdict::used);
  nc_window counted;
  counted.take(1);
  CHECK(counted.take_whole() == nc_verdict::used);
}

TEST_CASE("nc window: what either copy has seen is used after a merge; it travels as 12 bytes") {
  nc_window a, b;
  a.take(3);
  a.take(5);
  b.take(4);
  b.take(100);
  const nc_window m = a.merged_with(b);
  CHECK(m == b.merged_with(a));
  nc_window copy = m;
  CHECK(copy.take(100) == nc_verdict::used);
  CHECK(copy.take(5) == nc_verdict::used);
  nc_window near;
  near.take(6);
  nc_window joined = a.merged_with(near);
  CHECK(joined.take(5) == nc_verdict::used);
  CHECK(joined.take(4) == nc_verdict::first_use);
  CHECK(a.merged_with(nc_window{}) == a);

  for (const nc_window& w : {nc_window{}, a, b, m}) {
    CHECK(w.encode().size() == 12);
    const auto read = nc_window::decode(w.encode());
    REQUIRE(read.has_value());
    CHECK(*read == w);
  }
  CHECK_FALSE(nc_window::decode("short").has_value());
  CHECK_FALSE(nc_window::decode(std::string(4, '\0') + std::string(8, '\xff')).has_value());
}

TEST_CASE("nonce: after a revocation those under older keys are refused, as soon as a later key signs (consistency.md §8)") {
  seeded_rng rng(1);
  const std::string old = make_nonce(key_ring({one}), now, rng, "example.com");
  const unix_ms revoked_at = now - 1'000;
  // No later key yet: something has to sign, and nobody can register otherwise.
  CHECK(check_nonce(old, distrust_before(key_ring({one}), revoked_at), now, "example.com").verdict == nonce_verdict::fresh);
  const key_ring ring = distrust_before(keys, revoked_at);
  CHECK(ring.signing(now)->id == one.id); // the new one is not five seconds old
  CHECK(check_nonce(old, ring, now, "example.com").verdict == nonce_verdict::fresh);
  CHECK(ring.signing(now + 5'000)->id == two.id);
  CHECK(check_nonce(old, ring, now + 5'000, "example.com").verdict == nonce_verdict::stale);
  const std::string fresh = make_nonce(ring, now + 5'000, rng, "example.com");
  CHECK(check_nonce(fresh, ring, now + 5'000, "example.com").verdict == nonce_verdict::fresh);
  // Merged with what the store has, which knows nothing of the mark, it stays.
  CHECK(distrusted(*ring.merged_with(keys).find(one.id)));
  CHECK_FALSE(distrusted(*ring.merged_with(keys).find(two.id)));
}
