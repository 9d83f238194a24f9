#pragma once
// The framing of `skald/1` links (design §10): u32 length of what follows, u8 type, u8 version, body. Mesh datagrams
// carry the same without the length.
#include "base/errors.hpp"
#include "dht/link/channel.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace skald::dht {

// What an encoder may put into a body, so that no frame of ours is refused by its reader.
inline constexpr std::size_t frame_body_bytes_max = frame_bytes_max - 6;

void append_frame(std::string& out, const frame& f); // for a stream
std::string encode_datagram(const frame& f);         // type, version, body
result<frame> decode_datagram(std::string_view bytes);

// Cuts a byte stream into frames. One thread. A stream that failed once stays failed: its link is closed.
class frame_decoder {
public:
  void feed(std::string_view bytes);
  // The next whole frame; nullopt: more bytes are needed. Unknown types come through too, since a peer may be newer.
  // errc::too_large: longer than frame_bytes_max; errc::malformed: no room for type and version.
  result<std::optional<frame>> next();
  std::size_t buffered() const { return buffer_.size() - at_; }

private:
  std::string buffer_;
  std::size_t at_ = 0; // consumed so far; moved out when it is over half
  std::optional<errc> failed_;
};

} // namespace skald::dht
