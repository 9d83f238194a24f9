#pragma once
// The msgpack that skald speaks: positional arrays of integers, booleans, byte strings and further arrays. A message
// that grows appends elements: a reader ignores what it does not know and takes the default for what is missing.
// (msgpack-cxx builds an object tree per message; here reading allocates nothing. The tests compare the two.)
#include <cstdint>
#include <string>
#include <string_view>

namespace skald::pack {

// Appends to `out`, which outlives it. An array is its count, then that many elements; the caller keeps count.
class writer {
public:
  explicit writer(std::string& out) : out_(out) {}
  writer& array(std::size_t elements);
  writer& uint(std::uint64_t v);
  writer& sint(std::int64_t v);
  writer& boolean(bool v);
  writer& bin(std::string_view bytes);
  writer& str(std::string_view text);

private:
  writer& byte(unsigned b);
  template <class U>
  writer& tagged(unsigned tag, U v);
  std::string& out_;
};

// Reads element by element and never past its view, into which what it hands out points. After the first error it
// yields zeros and empty views and stays failed, so that a decoder checks once, at its end.
class reader {
public:
  explicit reader(std::string_view in) : in_(in) {}

  // Number of elements; never more than bytes are left. Fails above `most`.
  std::size_t array(std::size_t most = ~std::size_t{0});
  std::size_t map(); // number of pairs
  std::uint64_t uint();
  std::int64_t sint();
  bool boolean();
  std::string_view bin(); // bin or str
  void skip();            // any element of any kind, with what is nested in it

  template <class U>
  U number(std::uint64_t most = ~std::uint64_t{0}) { // fails above `most` and above what an unsigned U holds
    const std::uint64_t v = uint();
    if (v > most || v > static_cast<U>(~U{0})) fail();
    return ok_ ? static_cast<U>(v) : U{};
  }
  template <class Id>
  Id id() { // an id160; fails at another length
    const auto v = Id::from_bytes(bin());
    if (!v) fail();
    return v.value_or(Id{});
  }

  bool next_is_bin() const; // bin or str
  bool next_is_map() const;
  void fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }

private:
  static constexpr int depth_max = 32; // of what is skipped
  void skip(int depth);
  std::size_t counted(std::uint64_t elements);
  unsigned peek() const;
  unsigned byte();
  std::uint64_t big_endian(std::size_t bytes);
  std::string_view take(std::size_t bytes);
  std::string_view in_;
  bool ok_ = true;
};

// Walks the elements of one array: past those that the sender's version had `next()` is false and the readers below
// give `missing`; the destructor steps over those that ours does not know. An inner walk has to end before the outer
// one goes on.
class fields {
public:
  explicit fields(reader& r) : fields(r, r.array()) {}
  fields(const fields&) = delete;
  fields& operator=(const fields&) = delete;
  ~fields() {
    while (next()) r_.skip();
  }

  bool next() { // if so, the caller reads one element from the reader
    if (left_ == 0 || !r_.ok()) return false;
    --left_;
    return true;
  }
  std::size_t left() const { return r_.ok() ? left_ : 0; }
  bool more() const { return left() > 0; }

  std::uint64_t uint(std::uint64_t missing = 0) { return next() ? r_.uint() : missing; }
  std::int64_t sint(std::int64_t missing = 0) { return next() ? r_.sint() : missing; }
  bool boolean(bool missing = false) { return next() ? r_.boolean() : missing; }
  std::string_view bin() { return next() ? r_.bin() : std::string_view{}; }
  template <class U>
  U number(U missing = 0) { return next() ? r_.number<U>() : missing; }
  template <class Id>
  Id id() { return next() ? r_.id<Id>() : Id{}; }
  fields array(std::size_t most = ~std::size_t{0}) { return {r_, next() ? r_.array(most) : 0}; }
  void fail() { r_.fail(); }

private:
  fields(reader& r, std::size_t elements) : r_(r), left_(elements) {}
  reader& r_;
  std::size_t left_;
};

} // namespace skald::pack
