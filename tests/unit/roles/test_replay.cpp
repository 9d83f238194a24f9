#include "roles/core/replay.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {

constexpr unix_ms start = 1'700'000'000'000;

ring_key key_of(std::uint8_t n) {
  ring_key k;
  k.bytes.fill(n);
  return k;
}

nonce_use use_of(std::uint64_t nonce, std::uint32_t nc, std::string fingerprint = {}) {
  const unix_ms made = start + static_cast<unix_ms>(nonce);
  return {nonce, made, made + 310'000, nc, std::move(fingerprint)};
}

// A store's side of it: what was told to be written.
struct written {
  std::map<std::string, dht::record> items;
  void take(const std::vector<dht::change>& changes) {
    for (const dht::change& c : changes) {
      if (c.remove) {
        items.erase(c.item);
        continue;
      }
      dht::record r;
      r.item = c.item, r.value = c.value, r.expires = c.expires;
      items[c.item] = r;
    }
  }
  std::vector<dht::record> all() const {
    std::vector<dht::record> out;
    for (const auto& [item, r] : items) out.push_back(r);
    return out;
  }
};

} // namespace

TEST_CASE("replay: nothing is judged before what the store holds was loaded, and again after the view changed") {
  replay_memory m;
  CHECK(m.use(key_of(1), use_of(1, 1), 7, start).verdict == replay_verdict::not_known);
  m.load(key_of(1), {}, 7, start);
  CHECK(m.use(key_of(1), use_of(1, 1), 7, start).verdict == replay_verdict::fresh);
  CHECK(m.use(key_of(1), use_of(1, 2), 8, start).verdict == replay_verdict::not_known);
  m.load(key_of(1), {}, 8, start);
  CHECK(m.use(key_of(1), use_of(1, 1), 8, start).verdict == replay_verdict::used); // what was known stays known
}

TEST_CASE("replay: a memory that was loaded from another's writes knows what that one knew") {
  replay_memory a, b;
  written store;
  a.load(key_of(1), {}, 1, start);
  store.take(a.use(key_of(1), use_of(5, 3, "same"), 1, start).changes);
  store.take(a.use(key_of(1), use_of(5, 9), 1, start).changes);
  b.load(key_of(1), store.all(), 2, start);
  CHECK(b.use(key_of(1), use_of(5, 3), 2, start).verdict == replay_verdict::used);
  CHECK(b.use(key_of(1), use_of(5, 9), 2, start).verdict == replay_verdict::used);
  CHECK(b.use(key_of(1), use_of(5, 3, "same"), 2, start).verdict == replay_verdict::repeated);
  CHECK(b.use(key_of(1), use_of(5, 4), 2, start).verdict == replay_verdict::fresh);
}

TEST_CASE("replay: subscribers do not share nonces") {
  replay_memory m;
  m.load(key_of(1), {}, 1, start);
  m.load(key_of(2), {}, 1, start);
  CHECK(m.use(key_of(1), use_of(1, 1), 1, start).verdict == replay_verdict::fresh);
  CHECK(m.use(key_of(2), use_of(1, 1), 1, start).verdict == replay_verdict::fresh);
}

TEST_CASE("replay: the same REGISTER is repeated, after forget() it is new once") {
  replay_memory m;
  m.load(key_of(1), {}, 1, start);
  const nonce_use u = use_of(1, 1, "print");
  CHECK(m.use(key_of(1), u, 1, start).verdict == replay_verdict::fresh);
  CHECK(m.use(key_of(1), u, 1, start).verdict == replay_verdict::repeated);
  m.forget(key_of(1), u);
  CHECK(m.use(key_of(1), u, 1, start).verdict == replay_verdict::fresh);
  CHECK(m.use(key_of(1), u, 1, start).verdict == replay_verdict::repeated);
  CHECK(m.use(key_of(1), use_of(1, 1, "other"), 1, start).verdict == replay_verdict::used);
}

TEST_CASE("replay: over the limit of nonces the oldest count as used up, and the next owner knows that too") {
  replay_memory a, b;
  written store;
  a.load(key_of(1), {}, 1, start);
  for (std::uint64_t n = 1; n <= nonces_per_subscriber_max + 1; ++n)
    store.take(a.use(key_of(1), use_of(n, 1), 1, start).changes);
  CHECK(store.items.size() <= nonces_per_subscriber_max + 1); // and the floor
  CHECK(a.use(key_of(1), use_of(1, 2), 1, start).verdict == replay_verdict::used);
  CHECK(a.use(key_of(1), use_of(2, 2), 1, start).verdict == replay_verdict::fresh);
  b.load(key_of(1), store.all(), 2, start);
  CHECK(b.use(key_of(1), use_of(1, 2), 2, start).verdict == replay_verdict::used);
}

TEST_CASE("replay: it does not grow with subscribers that went silent") {
  replay_memory m;
  const auto key = [](std::uint32_t i) {
    ring_key k = key_of(1); // one stripe
    k.bytes[0] = static_cast<std::uint8_t>(i), k.bytes[1] = static_cast<std::uint8_t>(i >> 8), k.bytes[5] = k.bytes[0];
    return k;
  };
  for (std::uint32_t i = 0; i < 10'000; ++i) {
    const unix_ms now = start + i * 1000;
    m.load(key(i), {}, 1, now);
    m.use(key(i), {i + 1, now, now + 310'000, 1, {}}, 1, now);
  }
  CHECK(m.size() < 3000);
}

TEST_CASE("replay: a state decodes to what was encoded; what is none is refused") {
  nonce_state s;
  s.made = start, s.expires = start + 310'000;
  s.window.take(7);
  s.repeats = {{7, "fingerprint!"}};
  const std::string bytes = encode(s);
  CHECK(decode_nonce_state(bytes) == s);
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(decode_nonce_state(bytes.substr(0, n)).has_value());
}

TEST_CASE("replay: a fingerprint is of Call-ID, CSeq, Contacts and expiry, and of nothing else") {
  const auto print = [](std::string_view call_id, std::string_view cseq, std::string_view contact, std::string_view more) {
    return register_fingerprint(*sip::message::parse("REGISTER sip:example.com SIP/2.0\r\nCall-ID: " + std::string(call_id) +
                                                     "\r\nCSeq: " + std::string(cseq) + " REGISTER\r\nContact: " +
                                                     std::string(contact) + "\r\n" + std::string(more) + "\r\n"));
  };
  const std::string one = print("a", "1", "<sip:x@y>", "Expires: 60\r\n");
  CHECK(one == print("a", "1", "<sip:x@y>", "Expires: 60\r\nVia: SIP/2.0/TCP edge2;branch=z9hG4bK2\r\n"));
  CHECK(one != print("b", "1", "<sip:x@y>", "Expires: 60\r\n"));
  CHECK(one != print("a", "2", "<sip:x@y>", "Expires: 60\r\n"));
  CHECK(one != print("a", "1", "<sip:z@y>", "Expires: 60\r\n"));
  CHECK(one != print("a", "1", "<sip:x@y>", "Expires: 0\r\n"));
}
