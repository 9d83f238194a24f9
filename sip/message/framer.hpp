#pragma once
// Cutting a byte stream into SIP messages (RFC 3261 §18.3) and keep-alives (RFC 5626 §3.5.1). One per connection, one
// thread. Every byte is looked at once, however it is cut into pieces.
#include "base/errors.hpp"
#include "sip/message/message.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::sip {

enum class frame_kind : std::uint8_t {
  nothing, // more bytes needed
  message, // `bytes` is one message, ready for message::parse
  ping,    // a double CRLF: answer with one CRLF
  pong,    // a single CRLF
  error,   // `error` says why; the stream cannot be cut any further and is to be closed
};

struct frame {
  frame_kind kind = frame_kind::nothing;
  std::string bytes{}; // with `error`: the head, if it was whole, so that a 400 or 413 can be made (parse_lenient)
  errc error{};        // too_large: over message_bytes_max; missing: no Content-Length; malformed
};

class stream_framer {
public:
  // Takes what was read. Call next() until it says `nothing` before feeding more: then no more than
  // message_bytes_max plus one read is ever held.
  void feed(std::string_view bytes);
  // After `error` it gives `error` for ever. A ping that comes in two pieces is reported as a pong and then a ping.
  frame next();

private:
  frame skip_keepalives();
  bool scan_head(); // true: the head is whole
  void scan_line(std::string_view line);
  void end_length_field();
  frame cut();
  frame fail(errc why, std::size_t head_bytes);
  void forget_consumed();

  std::string buffer_;
  std::size_t start_ = 0;   // of the message, or of what is between messages
  std::size_t line_ = 0;    // start of the line being read
  std::size_t seen_ = 0;    // no line end between line_ and here
  std::size_t head_end_ = 0; // 0: not known
  std::string length_text_; // Content-Length's value while it may still be folded
  std::uint64_t length_ = 0;
  bool in_length_ = false, has_length_ = false, bad_length_ = false;
  bool in_message_ = false, half_ping_ = false, failed_ = false;
  errc why_{};
};

} // namespace skald::sip
