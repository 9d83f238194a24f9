#include "sip/message/framer.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/lex.hpp"

namespace skald::sip {

namespace {

metrics::counter cut_off("skald_sip_stream_framing_errors_total", "SIP streams that could not be cut into messages");

// A number of ten digits with some white space; longer is not kept, it would be refused anyway.
constexpr std::size_t length_text_max = 64;

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

} // namespace

void stream_framer::feed(std::string_view bytes) {
  if (!failed_) buffer_.append(bytes);
}

frame stream_framer::next() {
  if (failed_) return {.kind = frame_kind::error, .error = why_};
  if (!in_message_) {
    if (frame event = skip_keepalives(); event.kind != frame_kind::nothing) return event;
    if (start_ == buffer_.size()) {
      forget_consumed();
      return {};
    }
    if (buffer_[start_] == '\r') return {}; // half a CRLF
    // No message begins so: a TLS or HTTP/2 client on the wrong port. A token's character begins both start lines.
    if (!lex::is_token_char(buffer_[start_])) return fail(errc::malformed, 0);
    in_message_ = true;
    line_ = seen_ = start_;
    head_end_ = 0;
    length_ = 0;
    in_length_ = has_length_ = bad_length_ = false;
  }
  if (head_end_ == 0 && !scan_head()) {
    if (failed_) return {.kind = frame_kind::error, .error = why_};
    if (buffer_.size() - start_ > message_bytes_max) return fail(errc::too_large, 0);
    return {};
  }
  return cut();
}

// Between messages: CRLFs, and zero bytes, which some phones send to keep a flow open.
frame stream_framer::skip_keepalives() {
  while (start_ < buffer_.size()) {
    const char c = buffer_[start_];
    if (c == '\0' || c == '\n') {
      ++start_;
      continue;
    }
    if (c != '\r') {
      half_ping_ = false;
      break;
    }
    if (start_ + 1 == buffer_.size()) break;
    if (buffer_[start_ + 1] != '\n') {
      ++start_;
      continue;
    }
    start_ += 2;
    if (half_ping_) {
      half_ping_ = false;
      return {.kind = frame_kind::ping};
    }
    half_ping_ = true;
    // Whether a second CRLF follows is not always known yet; then this one counts as a pong at once.
    if (start_ == buffer_.size()) return {.kind = frame_kind::pong};
  }
  return {};
}

bool stream_framer::scan_head() {
  while (true) {
    const std::size_t newline = buffer_.find('\n', seen_);
    if (newline == std::string::npos) {
      seen_ = buffer_.size();
      return false;
    }
    const std::string_view line = without_cr(std::string_view(buffer_).substr(line_, newline - line_));
    const bool is_first = line_ == start_;
    line_ = seen_ = newline + 1;
    if (line.empty()) {
      end_length_field();
      head_end_ = line_;
      return true;
    }
    if (!is_first) scan_line(line);
  }
}

void stream_framer::scan_line(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') { // a folded line (§7.3.1)
    if (in_length_ && length_text_.size() <= length_text_max) length_text_.append(lex::trim(line));
    return;
  }
  end_length_field();
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  if (header_from(lex::trim_right(line.substr(0, colon))) != header::content_length) return;
  in_length_ = true;
  length_text_.assign(lex::trim(line.substr(colon + 1)).substr(0, length_text_max));
}

void stream_framer::end_length_field() {
  if (!in_length_) return;
  in_length_ = false;
  const auto n = parse_number(length_text_);
  // Two different lengths would let two readers see two different messages.
  bad_length_ = bad_length_ || !n || (has_length_ && length_ != *n);
  has_length_ = true;
  if (n) length_ = *n;
}

frame stream_framer::cut() {
  const std::size_t head_bytes = head_end_ - start_;
  if (!has_length_) return fail(errc::missing, head_bytes); // RFC 3261 §20.14: on a stream it MUST be there
  if (bad_length_) return fail(errc::malformed, head_bytes);
  if (head_bytes + length_ > message_bytes_max) return fail(errc::too_large, head_bytes);
  const std::size_t end = head_end_ + static_cast<std::size_t>(length_);
  if (buffer_.size() < end) return {};
  frame out{.kind = frame_kind::message};
  if (start_ == 0 && end == buffer_.size()) {
    out.bytes = std::move(buffer_); // the usual case: one read, one message
    buffer_.clear();
  } else {
    out.bytes = buffer_.substr(start_, end - start_);
    start_ = end;
    forget_consumed();
  }
  in_message_ = false;
  return out;
}

frame stream_framer::fail(errc why, std::size_t head_bytes) {
  cut_off.add();
  failed_ = true;
  why_ = why;
  frame out{.kind = frame_kind::error, .bytes = buffer_.substr(start_, head_bytes), .error = why};
  buffer_.clear();
  return out;
}

// Moves what is left to the front only when more is gone than stays: each byte moves at most once per byte consumed.
void stream_framer::forget_consumed() {
  if (start_ < buffer_.size() - start_) return;
  buffer_.erase(0, start_);
  start_ = 0;
}

} // namespace skald::sip
