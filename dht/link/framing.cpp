#include "dht/link/framing.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"

#include <utility>

namespace skald::dht {
namespace {

metrics::counter refused("skald_link_frames_refused_total", "Frames on node links that could not be read");

} // namespace

void append_frame(std::string& out, const frame& f) {
  SKALD_ASSERT(f.body.size() <= frame_body_bytes_max);
  out.reserve(out.size() + 6 + f.body.size());
  put_be(out, static_cast<std::uint32_t>(f.body.size() + 2));
  out.push_back(static_cast<char>(f.type));
  out.push_back(static_cast<char>(f.version));
  out += f.body;
}

std::string encode_datagram(const frame& f) {
  std::string out;
  out.reserve(2 + f.body.size());
  out.push_back(static_cast<char>(f.type));
  out.push_back(static_cast<char>(f.version));
  out += f.body;
  return out;
}

result<frame> decode_datagram(std::string_view bytes) {
  if (bytes.size() < 2) return std::unexpected(errc::malformed);
  return frame{static_cast<frame_type>(bytes[0]), static_cast<std::uint8_t>(bytes[1]), std::string(bytes.substr(2))};
}

void frame_decoder::feed(std::string_view bytes) {
  if (at_ > 0 && at_ >= buffer_.size() / 2) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  buffer_ += bytes;
}

result<std::optional<frame>> frame_decoder::next() {
  if (failed_) return std::unexpected(*failed_);
  const auto rest = std::string_view(buffer_).substr(at_);
  if (rest.size() < 4) return std::nullopt;
  const std::size_t length = get_be<std::uint32_t>(rest);
  if (length > frame_bytes_max - 4 || length < 2) {
    failed_ = length < 2 ? errc::malformed : errc::too_large;
    refused.add();
    return std::unexpected(*failed_);
  }
  if (rest.size() < 4 + length) return std::nullopt;
  auto f = decode_datagram(rest.substr(4, length));
  SKALD_ASSERT(f.has_value());
  at_ += 4 + length;
  return std::optional<frame>(std::move(*f));
}

} // namespace skald::dht
