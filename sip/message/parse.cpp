// The one pass over a message's bytes: start line, header lines, body (RFC 3261 §7, §7.5).
#include "sip/message/cseq.hpp"
#include "sip/message/lex.hpp"
#include "sip/message/message.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"

#include <cstring>

namespace skald::sip {

namespace {

metrics::counter over_limit("skald_sip_message_over_limit_total",
                            "SIP messages refused for their size or number of headers");

constexpr std::size_t usual_fields = 24;

// A cursor over the lines of a message. A bare LF ends a line like CRLF does.
struct line_reader {
  char* at;
  char* end;

  bool done() const { return at == end; }
  // The next line without its end; nullopt if the bytes end before the line does.
  std::optional<std::string_view> next() {
    auto* newline = static_cast<char*>(std::memchr(at, '\n', static_cast<std::size_t>(end - at)));
    if (newline == nullptr) return std::nullopt;
    char* last = newline;
    if (last != at && last[-1] == '\r') --last;
    const std::string_view line(at, static_cast<std::size_t>(last - at));
    at = newline + 1;
    return line;
  }
  bool at_folded() const { return at != end && (*at == ' ' || *at == '\t'); } // §7.3.1
};

// Joins continuation lines to `line`, in place: what folds becomes one space, so the text only gets shorter.
std::optional<std::string_view> unfold(line_reader& lines, std::string_view line) {
  char* const start = const_cast<char*>(line.data()); // the buffer is ours and not shared yet
  char* out = start + lex::trim_right(line).size();
  while (lines.at_folded()) {
    const auto more = lines.next();
    if (!more) return std::nullopt;
    const std::string_view text = lex::trim(*more);
    if (text.empty()) continue;
    *out++ = ' ';
    std::memmove(out, text.data(), text.size());
    out += text.size();
  }
  return std::string_view(start, static_cast<std::size_t>(out - start));
}

// A CR within a line may be a line end to the next hop: not passed on. Any other byte may be quoted (§25.1 quoted-pair).
bool is_clean(std::string_view line) { return std::memchr(line.data(), '\r', line.size()) == nullptr; }

bool is_status_line(std::string_view line) { return line.size() > 4 && equal_nocase(line.substr(0, 4), "SIP/"); }

bool is_version(std::string_view text) { // "SIP/" 1*DIGIT "." 1*DIGIT
  if (!is_status_line(text)) return false;
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot == 4 || dot + 1 == text.size()) return false;
  for (std::size_t i = 4; i < text.size(); ++i)
    if (i != dot && !lex::is_digit(text[i])) return false;
  return true;
}

bool is_ours(std::string_view version) { return equal_nocase(version, "SIP/2.0"); } // §7.1: case-insensitive

std::string_view skip_blank(std::string_view bytes) { // §7.5: CRLFs before the start line; zero bytes: sip.md §7
  const std::size_t n = bytes.find_first_not_of(std::string_view("\r\n\0", 3));
  return n == std::string_view::npos ? std::string_view{} : bytes.substr(n);
}

} // namespace

bool message::parse_start_line(std::string_view line) {
  const std::string_view trimmed = lex::trim_right(line);
  const std::size_t first = trimmed.find(' ');
  if (first == std::string_view::npos || !is_clean(trimmed)) return false;
  if (is_status_line(trimmed)) { // Status-Line: the reason phrase and its space may be missing
    const std::string_view version = trimmed.substr(0, first), rest = lex::trim_left(trimmed.substr(first));
    const std::string_view code = rest.substr(0, rest.find(' '));
    const auto number = parse_number(code);
    if (!is_version(version) || code.size() != 3 || !number || *number < 100) return false;
    version_ok_ = is_ours(version);
    status_ = static_cast<int>(*number);
    reason_ = lex::trim(rest.substr(code.size()));
    return true;
  }
  flawed_ = trimmed.size() != line.size(); // RFC 4475 §3.1.2.10; after a status it is an empty reason phrase
  const std::size_t last = trimmed.rfind(' ');
  const std::string_view name = trimmed.substr(0, first), version = trimmed.substr(last + 1);
  if (last == first || !lex::is_token(name) || !is_version(version)) return false;
  version_ok_ = is_ours(version);
  method_name_ = name;
  method_ = method_from(name);
  uri_ = trimmed.substr(first + 1, last - first - 1); // with any surplus spaces: `validate` refuses them
  return true;
}

void message::add_line(std::string_view name, std::string_view value) {
  const header id = header_from(name);
  fields_.push_back({id, name, value});
}

bool message::take_body(std::string_view rest) {
  body_ = rest;
  const auto written = line(header::content_length);
  if (!written) return true;
  const auto length = parse_number(*written);
  if (!length) {
    flawed_ = true; // no number: `validate` refuses it
    return true;
  }
  if (*length > rest.size()) return false;
  body_ = rest.substr(0, *length);
  return true;
}

result<message> message::parse_as(std::string bytes, bool lenient) {
  if (bytes.size() > message_bytes_max) {
    over_limit.add();
    return std::unexpected(errc::too_large);
  }
  message out;
  std::string& owned = out.arena_.adopt(std::move(bytes));
  const std::string_view all = skip_blank(owned);
  line_reader lines{owned.data() + (owned.size() - all.size()), owned.data() + owned.size()};
  const auto start = lines.next();
  if (!start) return std::unexpected(errc::incomplete);
  if (!out.parse_start_line(*start)) return std::unexpected(errc::malformed);

  out.fields_.reserve(usual_fields);
  while (true) {
    auto line = lines.next();
    if (line && lines.at_folded() && !line->empty()) line = unfold(lines, *line);
    if (!line) { // the empty line is missing
      if (!lenient) return std::unexpected(errc::incomplete);
      out.flawed_ = true;
      return out;
    }
    if (line->empty()) break;
    const std::size_t colon = line->find(':');
    const std::string_view name = lex::trim_right(line->substr(0, colon)); // HCOLON: white space before the colon
    if (colon == std::string_view::npos || !lex::is_token(name) || !is_clean(*line)) {
      if (!lenient) return std::unexpected(errc::malformed);
      out.flawed_ = true;
      continue;
    }
    if (out.fields_.size() == header_fields_max) {
      over_limit.add();
      return std::unexpected(errc::too_large);
    }
    out.add_line(name, lex::trim(line->substr(colon + 1)));
  }
  if (!out.take_body({lines.at, static_cast<std::size_t>(lines.end - lines.at)})) {
    if (!lenient) return std::unexpected(errc::incomplete);
    out.flawed_ = true;
  }
  out.fields_changed(header::cseq);
  return out;
}

result<message> message::parse(std::string bytes) { return parse_as(std::move(bytes), false); }
result<message> message::parse_lenient(std::string bytes) { return parse_as(std::move(bytes), true); }

} // namespace skald::sip
