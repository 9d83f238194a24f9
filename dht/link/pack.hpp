#pragma once
// The msgpack that skald speaks: positional arrays of integers, booleans, byte strings and further arrays. A message
// that grows appends elements: a reader ignores what it does not know and takes the default for what is missing.
// (msgpack-cxx builds an object tree per message; here nothing is allocated. The tests compare the two.)
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::dht {

// Appends to `out`, which outlives it. An array is its count, then that many elements; the caller keeps count.
class packer {
public:
  explicit packer(std::string& out) : out_(out) {}

  packer& array(std::size_t count);
  packer& number(std::uint64_t v);
  packer& signed_number(std::int64_t v);
  packer& boolean(bool v);
  packer& bytes(std::string_view v);
  template <class Tag>
  packer& id(const id160<Tag>& v) { return bytes(v.view()); }

private:
  std::string& out_;
};

// What all nested readers of one message share. The bytes outlive it, and the views it hands out point into them.
struct unpack_cursor {
  std::string_view rest;
  bool failed = false;
};

// Reads one array, element by element. Past the end each read gives the default. The first malformed element fails the
// whole message (ok() is false at every level) and each later read gives the default. A nested reader must go out of
// scope before its parent is read again: its destructor steps over what it did not read.
class unpacker {
public:
  explicit unpacker(unpack_cursor& at); // enters the array that begins at the cursor
  ~unpacker();
  unpacker(const unpacker&) = delete;
  unpacker& operator=(const unpacker&) = delete;

  std::uint64_t number(std::uint64_t missing = 0);
  std::int64_t signed_number(std::int64_t missing = 0);
  bool boolean(bool missing = false);
  std::string_view bytes();             // bin or str; missing: empty
  unpacker array() { return unpacker(*this, 0); } // missing: empty
  template <class Id>
  Id id() { // missing: zero
    const bool there = left_ > 0;
    const auto raw = bytes();
    if (!there || at_.failed) return {};
    auto v = Id::from_bytes(raw);
    if (!v) at_.failed = true;
    return v.value_or(Id{});
  }
  // A number that has to fit `U`.
  template <class U>
  U small(U missing = 0) {
    const auto v = number(missing);
    if (v > static_cast<U>(~U{0})) at_.failed = true;
    return static_cast<U>(v);
  }

  bool more() const { return left_ > 0 && !at_.failed; }
  std::size_t left() const { return left_; } // at most one per byte that is left
  bool ok() const { return !at_.failed; }
  void fail() { at_.failed = true; }

private:
  unpacker(unpacker& parent, int);
  void enter();
  bool take(); // steps to the next element; false: there is none

  unpack_cursor& at_;
  std::size_t left_ = 0;
};

} // namespace skald::dht
