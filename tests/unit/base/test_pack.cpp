#include "base/encoding.hpp"
#include "base/ids.hpp"
#include "base/pack.hpp"

#include <doctest/doctest.h>
#include <msgpack.hpp>

#include <limits>

using namespace skald;

namespace {

constexpr std::uint64_t numbers[] = {0, 1, 127, 128, 255, 256, 65535, 65536, 0xffff'ffff, 0x1'0000'0000, ~std::uint64_t{0}};
constexpr std::int64_t signed_numbers[] = {0, -1, -32, -33, -128, -129, -32768, -32769, -2147483648LL, -2147483649LL,
                                           std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
constexpr std::size_t lengths[] = {0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536};

} // namespace

TEST_CASE("pack: msgpack-cxx reads what we write") {
  std::string out;
  pack::writer p(out);
  p.array(std::size(numbers) + std::size(signed_numbers) + 2 * std::size(lengths) + 3);
  for (const auto n : numbers) p.uint(n);
  for (const auto n : signed_numbers) p.sint(n);
  for (const auto n : lengths) p.bin(std::string(n, 'x'));
  for (const auto n : lengths) p.str(std::string(n, 'x'));
  p.boolean(true).boolean(false).array(20);
  for (int i = 0; i < 20; ++i) p.array(0);

  const auto handle = msgpack::unpack(out.data(), out.size());
  const auto& a = handle.get().via.array;
  std::uint32_t at = 0;
  for (const auto n : numbers) CHECK(a.ptr[at++].as<std::uint64_t>() == n);
  for (const auto n : signed_numbers) CHECK(a.ptr[at++].as<std::int64_t>() == n);
  for (const auto n : lengths) CHECK(a.ptr[at++].via.bin.size == n);
  for (const auto n : lengths) CHECK(a.ptr[at++].via.str.size == n);
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

  pack::reader r({buffer.data(), buffer.size()});
  pack::fields in(r);
  for (const auto n : numbers) CHECK(in.uint() == n);
  for (const auto n : signed_numbers) CHECK(in.sint() == n);
  for (const auto n : lengths) CHECK(in.bin().size() == n);
  CHECK(in.boolean());
  CHECK_FALSE(in.more());
  CHECK(r.ok());
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

  pack::reader r({buffer.data(), buffer.size()});
  pack::fields in(r);
  {
    pack::fields inner = in.array();
    CHECK(inner.uint() == 7);
  }
  CHECK(in.uint() == 42);
  CHECK(in.uint(5) == 5);
  CHECK(in.bin().empty());
  CHECK(in.boolean(true));
  CHECK_FALSE(in.array().more());
  CHECK(in.id<node_id>() == node_id{});
  CHECK(r.ok());
}

TEST_CASE("pack: wrong kinds, short input and absurd counts fail the message, and never more") {
  const auto fails = [](std::string_view hex, auto read) {
    const auto raw = *from_hex(hex);
    pack::reader r(raw);
    {
      pack::fields in(r);
      read(in);
    }
    return !r.ok();
  };
  const auto number = [](pack::fields& in) { in.uint(); };
  CHECK(fails("", number));
  CHECK(fails("01", number));           // not an array
  CHECK(fails("91c3", number));         // a boolean
  CHECK(fails("91ff", number));         // negative
  CHECK(fails("91cf00", number));       // cut
  CHECK(fails("ddffffffff", number));   // four thousand million elements in no byte
  CHECK(fails("91c6ffffffff00", [](pack::fields& in) { in.bin(); }));
  CHECK(fails("91cd0100", [](pack::fields& in) { in.number<std::uint8_t>(); }));
  CHECK(fails("91c40141", [](pack::fields& in) { in.id<node_id>(); }));
  CHECK(fails("91c1", [](pack::fields&) {})); // a tag that msgpack never uses, skipped
  CHECK(fails("91dfffffffff", [](pack::fields&) {}));
  CHECK_FALSE(fails("9101", number));
}

TEST_CASE("pack: nothing of a failed message is given out, and what follows the failure is not read") {
  const std::string bytes("\xc1\xff\x07\xc3\xa1x", 6);
  pack::reader r(bytes);
  r.fail();
  CHECK(r.uint() == 0);
  CHECK(r.sint() == 0);
  CHECK_FALSE(r.boolean());
  CHECK(r.bin().empty());
  CHECK(r.array() == 0);
  CHECK(r.map() == 0);
  CHECK_FALSE(r.next_is_bin());
  CHECK_FALSE(r.at_end());
}

TEST_CASE("pack: a list over its limit fails, a number over its own too") {
  pack::reader list("\x93\1\2\3");
  CHECK(list.array(2) == 0);
  CHECK_FALSE(list.ok());
  pack::reader just("\x92\1\2");
  CHECK(just.array(2) == 2);
  pack::reader number("\x65");
  CHECK(number.number<std::uint8_t>(100) == 0);
  CHECK_FALSE(number.ok());
  std::string above; // one more than a signed number holds
  pack::writer(above).uint(std::uint64_t{1} << 63);
  pack::reader r(above);
  CHECK(r.sint() == 0);
  CHECK_FALSE(r.ok());
}

TEST_CASE("pack: what is stepped over may be nested, but not without end") {
  const auto skipped = [](std::size_t depth, char nest) {
    std::string bytes;
    for (std::size_t i = 0; i < depth; ++i) {
      if (nest == '\x81') bytes += "\x81\x01"; // {1: …
      else bytes += nest;
    }
    bytes += '\x05';
    pack::reader r(bytes);
    r.skip();
    return r.ok() && r.at_end();
  };
  CHECK(skipped(32, '\x91'));
  CHECK(skipped(32, '\x81'));
  CHECK_FALSE(skipped(33, '\x91'));
  CHECK_FALSE(skipped(33, '\x81'));
  CHECK_FALSE(skipped(1'000'000, '\x91'));
}

TEST_CASE("pack: every truncation of an array is an error, never a read past the end") {
  std::string whole;
  pack::writer w(whole);
  w.array(7).uint(70'000).sint(-70'000).boolean(true).bin("bytes").str("text").array(2).uint(1).uint(2).str(std::string(300, 'x'));
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    const std::string cut = whole.substr(0, n); // of its own, so that a sanitizer sees a step too far
    pack::reader r(cut);
    { pack::fields f(r); }
    CHECK(r.ok() == (n == whole.size()));
  }
}
