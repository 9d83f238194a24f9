#include "dht/link/pack.hpp"

#include "base/encoding.hpp"

#include <limits>

namespace skald::dht {
namespace {

void head(std::string& out, std::uint8_t tag) { out.push_back(static_cast<char>(tag)); }

template <class U>
U pull(unpack_cursor& at) {
  if (at.rest.size() < sizeof(U)) {
    at.failed = true;
    return 0;
  }
  const U v = get_be<U>(at.rest);
  at.rest.remove_prefix(sizeof(U));
  return v;
}

std::string_view pull_bytes(unpack_cursor& at, std::size_t n) {
  if (at.rest.size() < n) {
    at.failed = true;
    return {};
  }
  const auto v = at.rest.substr(0, n);
  at.rest.remove_prefix(n);
  return v;
}

// Length of a str or bin element by its tag; fails for any other tag.
std::size_t bytes_length(unpack_cursor& at, std::uint8_t tag) {
  if ((tag & 0xe0) == 0xa0) return tag & 0x1f;
  if (tag == 0xc4 || tag == 0xd9) return pull<std::uint8_t>(at);
  if (tag == 0xc5 || tag == 0xda) return pull<std::uint16_t>(at);
  if (tag == 0xc6 || tag == 0xdb) return pull<std::uint32_t>(at);
  at.failed = true;
  return 0;
}

// Bytes of payload behind a tag, and in `nested` the elements that follow it: what a reader needs to step over
// something that it does not know.
std::size_t payload(unpack_cursor& at, std::uint8_t tag, std::uint64_t& nested) {
  if (tag <= 0x7f || tag >= 0xe0) return 0;
  if (tag <= 0x8f) return nested = std::uint64_t{2} * (tag & 0x0f), 0;
  if (tag <= 0x9f) return nested = tag & 0x0f, 0;
  if (tag <= 0xbf) return tag & 0x1f;
  switch (tag) {
  case 0xc0: case 0xc2: case 0xc3: return 0;
  case 0xcc: case 0xd0: return 1;
  case 0xcd: case 0xd1: return 2;
  case 0xca: case 0xce: case 0xd2: return 4;
  case 0xcb: case 0xcf: case 0xd3: return 8;
  case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return 1 + (std::size_t{1} << (tag - 0xd4)); // fixext
  case 0xc7: return std::size_t{1} + pull<std::uint8_t>(at); // ext
  case 0xc8: return std::size_t{1} + pull<std::uint16_t>(at);
  case 0xc9: return std::size_t{1} + pull<std::uint32_t>(at);
  case 0xdc: return nested = pull<std::uint16_t>(at), 0;
  case 0xdd: return nested = pull<std::uint32_t>(at), 0;
  case 0xde: return nested = std::uint64_t{2} * pull<std::uint16_t>(at), 0;
  case 0xdf: return nested = std::uint64_t{2} * pull<std::uint32_t>(at), 0;
  default: return bytes_length(at, tag);
  }
}

void skip(unpack_cursor& at, std::uint64_t elements) {
  while (elements > 0 && !at.failed) {
    if (elements > at.rest.size()) { // each takes a byte at least
      at.failed = true;
      return;
    }
    std::uint64_t nested = 0;
    const auto size = payload(at, pull<std::uint8_t>(at), nested);
    if (!at.failed) pull_bytes(at, size);
    elements += nested - 1;
  }
}

} // namespace

packer& packer::array(std::size_t count) {
  if (count < 16) {
    head(out_, static_cast<std::uint8_t>(0x90 | count));
  } else if (count <= 0xffff) {
    head(out_, 0xdc);
    put_be(out_, static_cast<std::uint16_t>(count));
  } else {
    head(out_, 0xdd);
    put_be(out_, static_cast<std::uint32_t>(count));
  }
  return *this;
}

packer& packer::number(std::uint64_t v) {
  if (v < 0x80) {
    head(out_, static_cast<std::uint8_t>(v));
  } else if (v <= 0xff) {
    head(out_, 0xcc);
    put_be(out_, static_cast<std::uint8_t>(v));
  } else if (v <= 0xffff) {
    head(out_, 0xcd);
    put_be(out_, static_cast<std::uint16_t>(v));
  } else if (v <= 0xffff'ffff) {
    head(out_, 0xce);
    put_be(out_, static_cast<std::uint32_t>(v));
  } else {
    head(out_, 0xcf);
    put_be(out_, v);
  }
  return *this;
}

packer& packer::signed_number(std::int64_t v) {
  if (v >= 0) return number(static_cast<std::uint64_t>(v));
  if (v >= -32) {
    head(out_, static_cast<std::uint8_t>(v));
  } else if (v >= std::numeric_limits<std::int8_t>::min()) {
    head(out_, 0xd0);
    put_be(out_, static_cast<std::uint8_t>(v));
  } else if (v >= std::numeric_limits<std::int16_t>::min()) {
    head(out_, 0xd1);
    put_be(out_, static_cast<std::uint16_t>(v));
  } else if (v >= std::numeric_limits<std::int32_t>::min()) {
    head(out_, 0xd2);
    put_be(out_, static_cast<std::uint32_t>(v));
  } else {
    head(out_, 0xd3);
    put_be(out_, static_cast<std::uint64_t>(v));
  }
  return *this;
}

packer& packer::boolean(bool v) {
  head(out_, v ? 0xc3 : 0xc2);
  return *this;
}

packer& packer::bytes(std::string_view v) {
  if (v.size() <= 0xff) {
    head(out_, 0xc4);
    put_be(out_, static_cast<std::uint8_t>(v.size()));
  } else if (v.size() <= 0xffff) {
    head(out_, 0xc5);
    put_be(out_, static_cast<std::uint16_t>(v.size()));
  } else {
    head(out_, 0xc6);
    put_be(out_, static_cast<std::uint32_t>(v.size()));
  }
  out_.append(v);
  return *this;
}

unpacker::unpacker(unpack_cursor& at) : at_(at) { enter(); }

unpacker::unpacker(unpacker& parent, int) : at_(parent.at_) {
  if (parent.take()) enter();
}

unpacker::~unpacker() {
  if (!at_.failed) skip(at_, left_);
}

void unpacker::enter() {
  const auto tag = pull<std::uint8_t>(at_);
  std::size_t count = 0;
  if ((tag & 0xf0) == 0x90) count = tag & 0x0f;
  else if (tag == 0xdc) count = pull<std::uint16_t>(at_);
  else if (tag == 0xdd) count = pull<std::uint32_t>(at_);
  else at_.failed = true;
  if (count > at_.rest.size()) at_.failed = true; // each element takes a byte at least
  if (!at_.failed) left_ = count;
}

bool unpacker::take() {
  if (at_.failed || left_ == 0) return false;
  --left_;
  return true;
}

std::uint64_t unpacker::number(std::uint64_t missing) {
  if (!take()) return missing;
  const auto tag = pull<std::uint8_t>(at_);
  if (tag < 0x80) return tag;
  switch (tag) {
  case 0xcc: return pull<std::uint8_t>(at_);
  case 0xcd: return pull<std::uint16_t>(at_);
  case 0xce: return pull<std::uint32_t>(at_);
  case 0xcf: return pull<std::uint64_t>(at_);
  default: at_.failed = true; return missing;
  }
}

std::int64_t unpacker::signed_number(std::int64_t missing) {
  if (!take()) return missing;
  const auto tag = pull<std::uint8_t>(at_);
  if (tag < 0x80 || tag >= 0xe0) return static_cast<std::int8_t>(tag);
  switch (tag) {
  case 0xcc: return pull<std::uint8_t>(at_);
  case 0xcd: return pull<std::uint16_t>(at_);
  case 0xce: return pull<std::uint32_t>(at_);
  case 0xd0: return static_cast<std::int8_t>(pull<std::uint8_t>(at_));
  case 0xd1: return static_cast<std::int16_t>(pull<std::uint16_t>(at_));
  case 0xd2: return static_cast<std::int32_t>(pull<std::uint32_t>(at_));
  case 0xd3: return static_cast<std::int64_t>(pull<std::uint64_t>(at_));
  case 0xcf: {
    const auto v = pull<std::uint64_t>(at_);
    if (v <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return static_cast<std::int64_t>(v);
    break;
  }
  default: break;
  }
  at_.failed = true;
  return missing;
}

bool unpacker::boolean(bool missing) {
  if (!take()) return missing;
  const auto tag = pull<std::uint8_t>(at_);
  if (tag != 0xc2 && tag != 0xc3) at_.failed = true;
  return tag == 0xc3;
}

std::string_view unpacker::bytes() {
  if (!take()) return {};
  const auto length = bytes_length(at_, pull<std::uint8_t>(at_));
  return at_.failed ? std::string_view{} : pull_bytes(at_, length);
}

} // namespace skald::dht
