#include "sip/auth/nc_window.hpp"

#include "base/encoding.hpp"

#include <limits>

namespace skald::sip {

namespace {

std::uint64_t shifted(std::uint64_t bits, std::uint32_t by) {
  return by >= nc_window::width ? 0 : bits << by;
}

} // namespace

nc_verdict nc_window::look(std::uint32_t nc) const {
  if (nc == 0) return nc_verdict::used;
  if (nc > highest_) return nc_verdict::first_use;
  const std::uint32_t back = highest_ - nc;
  return back >= width || (seen_ >> back & 1) ? nc_verdict::used : nc_verdict::first_use;
}

nc_verdict nc_window::take(std::uint32_t nc) {
  if (look(nc) == nc_verdict::used) return nc_verdict::used;
  if (nc > highest_) {
    seen_ = shifted(seen_, nc - highest_) | 1;
    highest_ = nc;
  } else {
    seen_ |= std::uint64_t{1} << (highest_ - nc);
  }
  return nc_verdict::first_use;
}

nc_verdict nc_window::take_whole() {
  const bool untouched = highest_ == 0;
  highest_ = std::numeric_limits<std::uint32_t>::max();
  seen_ = ~std::uint64_t{0};
  return untouched ? nc_verdict::first_use : nc_verdict::used;
}

nc_window nc_window::merged_with(const nc_window& other) const {
  const nc_window& high = highest_ >= other.highest_ ? *this : other;
  const nc_window& low = highest_ >= other.highest_ ? other : *this;
  nc_window out = high;
  out.seen_ |= shifted(low.seen_, high.highest_ - low.highest_);
  return out;
}

std::string nc_window::encode() const {
  std::string out;
  put_be<std::uint32_t>(out, highest_);
  put_be<std::uint64_t>(out, seen_);
  return out;
}

result<nc_window> nc_window::decode(std::string_view bytes) {
  if (bytes.size() != 12) return std::unexpected(errc::malformed);
  nc_window out;
  out.highest_ = get_be<std::uint32_t>(bytes);
  out.seen_ = get_be<std::uint64_t>(bytes.substr(4));
  // The highest is itself used; an empty window has nothing.
  if ((out.highest_ == 0) != (out.seen_ == 0) || (out.seen_ && !(out.seen_ & 1)))
    return std::unexpected(errc::malformed);
  return out;
}

} // namespace skald::sip
