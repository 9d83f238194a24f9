#include "base/pack.hpp"

#include "base/encoding.hpp"

#include <limits>

namespace skald::pack {
namespace {

constexpr unsigned never_used = 0xc1; // no element of msgpack begins with it

// How many bytes of big-endian number follow the first of `tag`, `tag` + 1, …: 1, 2, 4, 8.
constexpr std::size_t width(unsigned tag, unsigned first) { return std::size_t{1} << (tag - first); }

} // namespace

writer& writer::byte(unsigned b) {
  out_.push_back(static_cast<char>(b));
  return *this;
}

template <class U>
writer& writer::tagged(unsigned tag, U v) {
  byte(tag);
  put_be(out_, v);
  return *this;
}

writer& writer::array(std::size_t n) {
  if (n < 16) return byte(0x90U | static_cast<unsigned>(n));
  if (n <= 0xffff) return tagged(0xdc, static_cast<std::uint16_t>(n));
  return tagged(0xdd, static_cast<std::uint32_t>(n));
}

writer& writer::uint(std::uint64_t v) {
  if (v < 0x80) return byte(static_cast<unsigned>(v));
  if (v <= 0xff) return tagged(0xcc, static_cast<std::uint8_t>(v));
  if (v <= 0xffff) return tagged(0xcd, static_cast<std::uint16_t>(v));
  if (v <= 0xffff'ffff) return tagged(0xce, static_cast<std::uint32_t>(v));
  return tagged(0xcf, v);
}

writer& writer::sint(std::int64_t v) {
  if (v >= 0) return uint(static_cast<std::uint64_t>(v));
  if (v >= -32) return byte(static_cast<std::uint8_t>(v));
  if (v >= std::numeric_limits<std::int8_t>::min()) return tagged(0xd0, static_cast<std::uint8_t>(v));
  if (v >= std::numeric_limits<std::int16_t>::min()) return tagged(0xd1, static_cast<std::uint16_t>(v));
  if (v >= std::numeric_limits<std::int32_t>::min()) return tagged(0xd2, static_cast<std::uint32_t>(v));
  return tagged(0xd3, static_cast<std::uint64_t>(v));
}

writer& writer::boolean(bool v) { return byte(v ? 0xc3 : 0xc2); }

writer& writer::bin(std::string_view b) {
  if (b.size() <= 0xff) tagged(0xc4, static_cast<std::uint8_t>(b.size()));
  else if (b.size() <= 0xffff) tagged(0xc5, static_cast<std::uint16_t>(b.size()));
  else tagged(0xc6, static_cast<std::uint32_t>(b.size()));
  out_.append(b);
  return *this;
}

writer& writer::str(std::string_view t) {
  if (t.size() < 32) byte(0xa0U | static_cast<unsigned>(t.size()));
  else if (t.size() <= 0xff) tagged(0xd9, static_cast<std::uint8_t>(t.size()));
  else if (t.size() <= 0xffff) tagged(0xda, static_cast<std::uint16_t>(t.size()));
  else tagged(0xdb, static_cast<std::uint32_t>(t.size()));
  out_.append(t);
  return *this;
}

std::string_view reader::take(std::size_t n) {
  if (!ok_ || n > in_.size()) {
    fail();
    return {};
  }
  const auto out = in_.substr(0, n);
  in_.remove_prefix(n);
  return out;
}

unsigned reader::peek() const { return !ok_ || in_.empty() ? never_used : static_cast<std::uint8_t>(in_[0]); }

unsigned reader::byte() {
  const unsigned b = peek();
  take(1);
  return b;
}

std::uint64_t reader::big_endian(std::size_t n) {
  std::uint64_t v = 0;
  for (const char c : take(n)) v = (v << 8) | static_cast<std::uint8_t>(c);
  return v;
}

std::size_t reader::counted(std::uint64_t elements) {
  if (elements > in_.size()) fail(); // each takes a byte at least
  return ok_ ? static_cast<std::size_t>(elements) : 0;
}

std::size_t reader::array(std::size_t most) {
  const unsigned tag = byte();
  std::uint64_t n = 0;
  if ((tag & 0xf0) == 0x90) n = tag & 0x0f;
  else if (tag == 0xdc || tag == 0xdd) n = big_endian(2 * width(tag, 0xdc));
  else fail();
  if (n > most) fail();
  return counted(n);
}

std::size_t reader::map() {
  const unsigned tag = byte();
  std::uint64_t n = 0;
  if ((tag & 0xf0) == 0x80) n = tag & 0x0f;
  else if (tag == 0xde || tag == 0xdf) n = big_endian(2 * width(tag, 0xde));
  else fail();
  return counted(2 * n) / 2;
}

std::uint64_t reader::uint() {
  const unsigned tag = byte();
  if (tag < 0x80) return tag;
  if (tag >= 0xcc && tag <= 0xcf) return big_endian(width(tag, 0xcc));
  fail();
  return 0;
}

std::int64_t reader::sint() {
  const unsigned tag = peek();
  if (tag >= 0xe0) return static_cast<std::int8_t>(byte());
  if (tag >= 0xd0 && tag <= 0xd3) {
    byte();
    const std::size_t bytes = width(tag, 0xd0);
    const unsigned shift = static_cast<unsigned>(64 - 8 * bytes);
    return static_cast<std::int64_t>(big_endian(bytes) << shift) >> shift;
  }
  const std::uint64_t v = uint();
  if (v > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) fail();
  return ok_ ? static_cast<std::int64_t>(v) : 0;
}

bool reader::boolean() {
  const unsigned tag = byte();
  if (tag != 0xc2 && tag != 0xc3) fail();
  return tag == 0xc3;
}

std::string_view reader::bin() {
  const unsigned tag = byte();
  if ((tag & 0xe0) == 0xa0) return take(tag & 0x1f);
  if (tag >= 0xc4 && tag <= 0xc6) return take(big_endian(width(tag, 0xc4)));
  if (tag >= 0xd9 && tag <= 0xdb) return take(big_endian(width(tag, 0xd9)));
  fail();
  return {};
}

bool reader::next_is_bin() const {
  const unsigned tag = peek();
  return (tag & 0xe0) == 0xa0 || (tag >= 0xc4 && tag <= 0xc6) || (tag >= 0xd9 && tag <= 0xdb);
}

bool reader::next_is_map() const {
  const unsigned tag = peek();
  return (tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf;
}

void reader::skip() { skip(0); }

void reader::skip(int depth) {
  const unsigned tag = peek();
  const bool is_map = next_is_map();
  if (is_map || (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd) {
    if (depth == depth_max) return fail();
    for (std::size_t left = is_map ? 2 * map() : array(); left > 0 && ok_; --left) skip(depth + 1);
    return;
  }
  if (next_is_bin()) return void(bin());
  byte();
  if (tag == never_used) fail();
  else if (tag >= 0xc7 && tag <= 0xc9) take(1 + big_endian(width(tag, 0xc7))); // extensions have a byte of type
  else if (tag >= 0xca && tag <= 0xcb) take(4 * width(tag, 0xca));             // floats
  else if (tag >= 0xcc && tag <= 0xcf) take(width(tag, 0xcc));
  else if (tag >= 0xd0 && tag <= 0xd3) take(width(tag, 0xd0));
  else if (tag >= 0xd4 && tag <= 0xd8) take(1 + width(tag, 0xd4));
  // Else it is whole in its tag: a small integer, nil, false or true.
}

} // namespace skald::pack
