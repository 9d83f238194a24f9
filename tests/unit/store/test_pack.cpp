#include "base/encoding.hpp"
#include "base/rng.hpp"
#include "dht/link/framing.hpp"
#include "dht/link/pack.hpp"

#include <doctest/doctest.h>
#include <msgpack.hpp>

#include <limits>

using namespace skald;
using namespace skald::dht;

namespace {

constexpr std::uint64_t numbers[] = {0, 1, 127, 128, 255, 256, 65535, 65536, 0xffff'ffff, 0x1'0000'0000, ~std::uint64_t{0}};
constexpr std::int64_t signed_numbers[] = {0, -1, -32, -33, -128, -129, -32768, -32769, -2147483648LL, -2147483649LL,
                                           std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
constexpr std::size_t lengths[] = {0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536};

} // namespace

TEST_CASE("pack: msgpack-cxx reads what we write") {
  std::string out;
  packer p(out);
  p.array(std::size(numbers) + std::size(signed_numbers) + std::size(lengths) + 3);
  for (const auto n : numbers) p.number(n);
  for (const auto n : signed_numbers) p.signed_number(n);
  for (const auto n : lengths) p.bytes(std::string(n, 'x'));
  p.boolean(true).boolean(false).array(20);
  for (int i = 0; i < 20; ++i) p.array(0);

  const auto handle = msgpack::unpack(out.data(), out.size());
  const auto& a = handle.get().via.array;
  std::uint32_t at = 0;
  for (const auto n : numbers) CHECK(a.ptr[at++].as<std::uint64_t>() == n);
  for (const auto n : signed_numbers) CHECK(a.ptr[at++].as<std::int64_t>() == n);
  for (const auto n : lengths) CHECK(a.ptr[at++].via.bin.size == n);
  CHECK(a.ptr[at++].as<bool>());
  CHECK_FALSE(a.ptr[at++].as<bool>());
  CHECK(a.ptr[at].via.array.size == 20);
}

TEST_CASE("pack: we read what msgpack-cxx writes") {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> p(buffer);
  p.pack_array(static_cast<std::uint32_t>(std::size(numbers) + std::size(signed_numbers) + std::size(lengths) + 1));
  for (const auto n : numbers) p.pack(n);
  for (const auto n : signed_numbers) p.pack(n);
  for (const auto n : lengths) p.pack(std::string(n, 'y')); // as str
  p.pack_true();

  unpack_cursor at{{buffer.data(), buffer.size()}};
  unpacker in(at);
  for (const auto n : numbers) CHECK(in.number() == n);
  for (const auto n : signed_numbers) CHECK(in.signed_number() == n);
  for (const auto n : lengths) CHECK(in.bytes().size() == n);
  CHECK(in.boolean());
  CHECK_FALSE(in.more());
  CHECK(in.ok());
}

TEST_CASE("pack: elements of a newer version are stepped over, whatever they are; missing ones take the default") {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> p(buffer);
  p.pack_array(2);
  p.pack_array(8); // inner: one number that we know, then what a newer version added
  p.pack(7);
  p.pack_nil();
  p.pack(3.25);
  p.pack(2.5F);
  p.pack_map(2);
  p.pack(1);
  p.pack_array(1);
  p.pack("deep");
  p.pack("key");
  p.pack(false);
  p.pack_ext(4, 1);
  p.pack_ext_body("abcd", 4);
  p.pack_ext(300, 2);
  p.pack_ext_body(std::string(300, 'z').data(), 300);
  p.pack(std::string(70'000, 'w'));
  p.pack(42);

  unpack_cursor at{{buffer.data(), buffer.size()}};
  unpacker in(at);
  {
    unpacker inner = in.array();
    CHECK(inner.number() == 7);
  }
  CHECK(in.number() == 42);
  CHECK(in.number(5) == 5);
  CHECK(in.bytes().empty());
  CHECK(in.boolean(true));
  CHECK_FALSE(in.array().more());
  CHECK(in.id<node_id>() == node_id{});
  CHECK(in.ok());
}

TEST_CASE("pack: wrong kinds, short input and absurd counts fail the message, and never more") {
  const auto fails = [](std::string_view hex, auto read) {
    const auto raw = *from_hex(hex);
    unpack_cursor at{raw};
    {
      unpacker in(at);
      read(in);
    }
    return at.failed;
  };
  const auto number = [](unpacker& in) { in.number(); };
  CHECK(fails("", number));
  CHECK(fails("01", number));           // not an array
  CHECK(fails("91c3", number));         // a boolean
  CHECK(fails("91ff", number));         // negative
  CHECK(fails("91cf00", number));       // cut
  CHECK(fails("ddffffffff", number));   // four thousand million elements in no byte
  CHECK(fails("91c6ffffffff00", [](unpacker& in) { in.bytes(); }));
  CHECK(fails("91cd0100", [](unpacker& in) { in.small<std::uint8_t>(); }));
  CHECK(fails("91c40141", [](unpacker& in) { in.id<node_id>(); }));
  CHECK(fails("91c1", [](unpacker&) {})); // a tag that msgpack never uses, skipped
  CHECK(fails("91dfffffffff", [](unpacker&) {}));
  CHECK_FALSE(fails("9101", number));
}

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
