#include "dht/view/pack.hpp"

#include "base/encoding.hpp"

namespace skald::dht::pack {
namespace {
constexpr int depth_max = 16; // of what is skipped
} // namespace

template <class U>
void writer::tagged(unsigned tag, U v) {
  byte(tag);
  put_be(out_, v);
}

void writer::array(std::size_t n) {
  if (n < 16) return byte(0x90U | static_cast<unsigned>(n));
  if (n <= 0xffff) return tagged(0xdc, static_cast<std::uint16_t>(n));
  tagged(0xdd, static_cast<std::uint32_t>(n));
}

void writer::uint(std::uint64_t v) {
  if (v < 0x80) return byte(static_cast<unsigned>(v));
  if (v <= 0xff) return tagged(0xcc, static_cast<std::uint8_t>(v));
  if (v <= 0xffff) return tagged(0xcd, static_cast<std::uint16_t>(v));
  if (v <= 0xffffffff) return tagged(0xce, static_cast<std::uint32_t>(v));
  tagged(0xcf, v);
}

void writer::sint(std::int64_t v) {
  if (v >= 0) return uint(static_cast<std::uint64_t>(v));
  if (v >= -32) return byte(static_cast<unsigned>(v) & 0xff);
  tagged(0xd3, static_cast<std::uint64_t>(v));
}

void writer::bin(std::string_view b) {
  if (b.size() <= 0xff) tagged(0xc4, static_cast<std::uint8_t>(b.size()));
  else if (b.size() <= 0xffff) tagged(0xc5, static_cast<std::uint16_t>(b.size()));
  else tagged(0xc6, static_cast<std::uint32_t>(b.size()));
  out_.append(b);
}

void writer::str(std::string_view t) {
  if (t.size() < 32) byte(0xa0U | static_cast<unsigned>(t.size()));
  else if (t.size() <= 0xff) tagged(0xd9, static_cast<std::uint8_t>(t.size()));
  else if (t.size() <= 0xffff) tagged(0xda, static_cast<std::uint16_t>(t.size()));
  else tagged(0xdb, static_cast<std::uint32_t>(t.size()));
  out_.append(t);
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

unsigned reader::byte() {
  const auto b = take(1);
  return b.empty() ? 0xc1U : static_cast<std::uint8_t>(b[0]); // 0xc1 is never used by msgpack
}

std::uint64_t reader::big_endian(std::size_t n) {
  std::uint64_t v = 0;
  for (const char c : take(n)) v = (v << 8) | static_cast<std::uint8_t>(c);
  return v;
}

std::size_t reader::array() {
  const unsigned tag = byte();
  std::size_t n = 0;
  if ((tag & 0xf0) == 0x90) n = tag & 0x0f;
  else if (tag == 0xdc) n = big_endian(2);
  else if (tag == 0xdd) n = big_endian(4);
  else fail();
  if (n > in_.size()) fail(); // each element has a byte at least
  return ok_ ? n : 0;
}

std::uint64_t reader::uint() {
  const unsigned tag = byte();
  if (tag < 0x80) return tag;
  if (tag >= 0xcc && tag <= 0xcf) return big_endian(std::size_t{1} << (tag - 0xcc));
  fail();
  return 0;
}

std::int64_t reader::sint() {
  if (in_.empty()) {
    fail();
    return 0;
  }
  const auto tag = static_cast<std::uint8_t>(in_[0]);
  if (tag >= 0xe0) return static_cast<std::int8_t>(byte());
  if (tag < 0xd0 || tag > 0xd3) return static_cast<std::int64_t>(uint());
  byte();
  const std::size_t bytes = std::size_t{1} << (tag - 0xd0);
  const unsigned shift = static_cast<unsigned>(64 - 8 * bytes);
  return static_cast<std::int64_t>(big_endian(bytes) << shift) >> shift;
}

bool reader::boolean() {
  const unsigned tag = byte();
  if (tag != 0xc2 && tag != 0xc3) fail();
  return tag == 0xc3;
}

std::string_view reader::bin() {
  const unsigned tag = byte();
  if ((tag & 0xe0) == 0xa0) return take(tag & 0x1f);
  if (tag >= 0xc4 && tag <= 0xc6) return take(big_endian(std::size_t{1} << (tag - 0xc4)));
  if (tag >= 0xd9 && tag <= 0xdb) return take(big_endian(std::size_t{1} << (tag - 0xd9)));
  fail();
  return {};
}

void reader::skip(int depth) {
  if (depth > depth_max || in_.empty()) return fail();
  const auto tag = static_cast<std::uint8_t>(in_[0]);
  const bool is_array = (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd;
  if (is_array) {
    for (std::size_t left = array(); left > 0 && ok_; --left) skip(depth + 1);
  } else if (tag < 0x80 || tag >= 0xe0 || (tag >= 0xcc && tag <= 0xcf) || (tag >= 0xd0 && tag <= 0xd3)) {
    sint();
  } else if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) { // nil, false, true
    byte();
  } else {
    bin(); // maps, floats and extensions are not spoken: fails
  }
}

} // namespace skald::dht::pack
