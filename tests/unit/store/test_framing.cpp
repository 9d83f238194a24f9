#include "base/rng.hpp"
#include "dht/link/framing.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::dht;

TEST_CASE("framing: frames come out of a stream however it is cut") {
  std::string stream;
  std::vector<frame> sent;
  for (std::size_t i = 0; i < 50; ++i) {
    sent.push_back({static_cast<frame_type>(i), static_cast<std::uint8_t>(i % 3), std::string(i * 37, 'b')});
    append_frame(stream, sent.back());
  }
  seeded_rng random(7);
  frame_decoder d;
  std::size_t got = 0;
  for (std::size_t at = 0; at < stream.size();) {
    const auto n = std::min<std::size_t>(1 + random.below(200), stream.size() - at);
    d.feed(std::string_view(stream).substr(at, n));
    at += n;
    for (;;) {
      auto f = d.next();
      REQUIRE(f.has_value());
      if (!*f) break;
      CHECK((*f)->type == sent[got].type);
      CHECK((*f)->version == sent[got].version);
      CHECK((*f)->body == sent[got].body);
      ++got;
    }
  }
  CHECK(got == sent.size());
  CHECK(d.buffered() == 0);
}

TEST_CASE("framing: too long or too short a length ends the stream for good") {
  frame_decoder longer;
  longer.feed(std::string_view("\x00\x40\x00\x01", 4));
  CHECK(longer.next().error() == errc::too_large);
  longer.feed("anything");
  CHECK(longer.next().error() == errc::too_large);
  frame_decoder shorter;
  shorter.feed(std::string_view("\x00\x00\x00\x01\x01", 5));
  CHECK(shorter.next().error() == errc::malformed);
  CHECK_FALSE(decode_datagram("x").has_value());

  std::string largest; // what an encoder may make, a decoder takes
  append_frame(largest, {frame_type::store_copy, 1, std::string(frame_body_bytes_max, 'x')});
  frame_decoder d;
  d.feed(largest);
  CHECK(d.next().value()->body.size() == frame_body_bytes_max);
}
