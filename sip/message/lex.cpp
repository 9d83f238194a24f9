#include "sip/message/lex.hpp"

namespace skald::sip::lex {

std::size_t past_quoted(std::string_view s) {
  for (std::size_t i = 1; i < s.size(); ++i) {
    if (s[i] == '\\') ++i; // quoted-pair
    else if (s[i] == '"') return i + 1;
  }
  return std::string_view::npos;
}

namespace {

struct scan_result {
  std::size_t found = std::string_view::npos;
  bool closed = true;
};

template <class IsWanted>
scan_result scan_top_level(std::string_view s, std::size_t from, IsWanted&& is_wanted) {
  for (std::size_t i = from; i < s.size(); ++i) {
    const char c = s[i];
    if (is_wanted(c)) return {.found = i};
    if (c == '<') { // up to the '>': a URI has no quoted strings
      i = s.find('>', i);
      if (i == std::string_view::npos) return {.closed = false};
    } else if (c == '"') {
      // An open quote swallows the rest; the value's parser refuses it.
      const std::size_t past = past_quoted(s.substr(i));
      if (past == std::string_view::npos) return {.closed = false};
      i += past - 1;
    }
  }
  return {};
}

} // namespace

std::size_t find_top_level(std::string_view s, char separator, std::size_t from) {
  return scan_top_level(s, from, [separator](char c) { return c == separator; }).found;
}

bool is_closed(std::string_view s) {
  return scan_top_level(s, 0, [](char) { return false; }).closed;
}

} // namespace skald::sip::lex
