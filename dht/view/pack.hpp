#pragma once
// The part of msgpack that our positional arrays use, without allocation: what goes out 40 times a second to each
// neighbour should cost nothing. A reader never reads past its view; after the first error it yields defaults and stays
// failed, so that a decoder checks once, at its end.
#include "base/errors.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::dht::pack {

class writer {
public:
  explicit writer(std::string& out) : out_(out) {}
  void array(std::size_t elements);
  void uint(std::uint64_t v);
  void sint(std::int64_t v);
  void boolean(bool v) { out_.push_back(static_cast<char>(v ? 0xc3 : 0xc2)); }
  void bin(std::string_view bytes);
  void str(std::string_view text);

private:
  void byte(unsigned b) { out_.push_back(static_cast<char>(b)); }
  template <class U>
  void tagged(unsigned tag, U v);
  std::string& out_;
};

class reader {
public:
  explicit reader(std::string_view in) : in_(in) {}
  std::size_t array(); // number of elements; never more than bytes are left
  std::uint64_t uint();
  std::int64_t sint();
  bool boolean();
  std::string_view bin(); // bin or str; lives as long as the input
  void skip(int depth = 0);

  template <class U>
  U number(std::uint64_t most = ~std::uint64_t{0}) { // fails above `most`
    const std::uint64_t v = uint();
    if (v > most || v > static_cast<std::uint64_t>(static_cast<U>(~U{0}))) fail();
    return ok_ ? static_cast<U>(v) : U{};
  }
  void fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }

private:
  unsigned byte();
  std::uint64_t big_endian(std::size_t bytes);
  std::string_view take(std::size_t bytes);
  std::string_view in_;
  bool ok_ = true;
};

// Walks the elements of one positional array: `more()` is false when the sender's version had fewer, and the
// destructor skips those that ours does not know (design §10).
class fields {
public:
  explicit fields(reader& r) : r_(r), left_(r.array()) {}
  fields(const fields&) = delete;
  fields& operator=(const fields&) = delete;
  ~fields() {
    while (left_ > 0 && r_.ok()) {
      --left_;
      r_.skip();
    }
  }
  bool more() {
    if (left_ == 0 || !r_.ok()) return false;
    --left_;
    return true;
  }
  std::size_t left() const { return left_; }

private:
  reader& r_;
  std::size_t left_;
};

} // namespace skald::dht::pack
