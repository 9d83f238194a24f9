#include "sip/message/framer.hpp"
#include "sip/message/message.hpp"

#include "base/rng.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace skald;
using namespace skald::sip;

namespace {

std::string request(std::string_view length_line, std::string_view body) {
  return std::string("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n").append(length_line).append("\r\n\r\n").append(body);
}

std::vector<frame> drain(stream_framer& f) {
  std::vector<frame> out;
  for (frame one = f.next(); one.kind != frame_kind::nothing; one = f.next()) {
    out.push_back(std::move(one));
    if (out.back().kind == frame_kind::error) break;
  }
  return out;
}

std::vector<frame> frames_of(std::string_view bytes) {
  stream_framer f;
  f.feed(bytes);
  return drain(f);
}

} // namespace

TEST_CASE("framer: messages are cut by Content-Length in all its spellings (RFC 3261 §18.3)") {
  for (const char* line : {"Content-Length: 4", "l:4", "CONTENT-LENGTH \t:  4", "l:\r\n 4", "content-length: 0004"}) {
    CAPTURE(line);
    const std::string one = request(line, "body");
    const auto frames = frames_of(one + one);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].bytes == one);
    CHECK(frames[1].bytes == one);
  }
}

TEST_CASE("framer: one byte at a time gives the same messages") {
  const std::string one = request("Content-Length: 4", "\r\n\r\n"), two = request("l: 0", "");
  stream_framer f;
  std::vector<std::string> got;
  for (const char c : one + two + one) {
    f.feed({&c, 1});
    for (frame& x : drain(f)) got.push_back(std::move(x.bytes));
  }
  CHECK(got == std::vector<std::string>{one, two, one});
}

TEST_CASE("framer: keep-alives are told apart (RFC 5626 §3.5.1)") {
  const auto two_pings = frames_of("\r\n\r\n\r\n\r\n");
  REQUIRE(two_pings.size() == 2);
  CHECK(two_pings[0].kind == frame_kind::ping);
  CHECK(two_pings[1].kind == frame_kind::ping);

  stream_framer f;
  f.feed("\r\n");
  CHECK(f.next().kind == frame_kind::pong);
  f.feed("\r");
  CHECK(f.next().kind == frame_kind::nothing);
  f.feed("\n");
  CHECK(f.next().kind == frame_kind::ping);

  const auto before = frames_of("\r\n" + request("l: 0", ""));
  REQUIRE(before.size() == 1);
  CHECK(before[0].kind == frame_kind::message);
  CHECK(before[0].bytes.starts_with("OPTIONS"));
}

TEST_CASE("framer: what cannot be cut ends the stream, and the head is given for the answer") {
  const auto missing = frames_of("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\nbody");
  REQUIRE(missing.size() == 1);
  CHECK(missing[0].error == errc::missing);
  CHECK(missing[0].bytes == "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n");
  CHECK(frames_of(request("l: 1\r\nContent-Length: 2", "xx"))[0].error == errc::malformed);
  CHECK(frames_of(request("l: -1", ""))[0].error == errc::malformed);
  CHECK(frames_of(request("l: 4294967296", ""))[0].error == errc::malformed);
  CHECK(frames_of(request("l: 65535", ""))[0].error == errc::too_large);
  CHECK(frames_of("\x16\x03\x01")[0].error == errc::malformed);
  CHECK(frames_of("X: " + std::string(message_bytes_max, 'a'))[0].error == errc::too_large);

  stream_framer f;
  f.feed("\x16");
  CHECK(f.next().kind == frame_kind::error);
  f.feed(request("l: 0", ""));
  CHECK(f.next().kind == frame_kind::error);
}

TEST_CASE("framer: any cutting of the stream gives the same frames") {
  std::string all;
  std::vector<std::string> expected;
  seeded_rng random(7);
  for (int i = 0; i < 200; ++i) {
    const std::string body = random.bytes(random.below(300));
    expected.push_back(request("l: " + std::to_string(body.size()), body));
    all += expected.back();
    if (random.chance(0.2)) all += "\r\n\r\n";
  }
  for (int round = 0; round < 10; ++round) {
    stream_framer f;
    std::vector<std::string> got;
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t n = std::min<std::size_t>(1 + random.below(2000), all.size() - at);
      f.feed(std::string_view(all).substr(at, n));
      at += n;
      for (frame& x : drain(f))
        if (x.kind == frame_kind::message) got.push_back(std::move(x.bytes));
    }
    CHECK(got == expected);
  }
}
