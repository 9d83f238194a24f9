#include "sip/message/lex.hpp"

namespace skald::sip::lex {

std::size_t past_quoted(std::string_view s) {
  for (std::size_t i = 1; i < s.size(); ++i) {
    if (s[i] == '\\') ++i; // quoted-pair
    else if (s[i] == '"') return i + 1;
  }
  return std::string_view::npos;
}

std::size_t find_top_level(std::string_view s, char separator, std::size_t from) {
  bool in_brackets = false;
  for (std::size_t i = from; i < s.size(); ++i) {
    const char c = s[i];
    if (in_brackets) {
      if (c == '>') in_brackets = false; // a URI has no quoted strings
      continue;
    }
    if (c == separator) return i;
    if (c == '<') {
      in_brackets = true;
    } else if (c == '"') {
      const std::size_t past = past_quoted(s.substr(i));
      if (past == std::string_view::npos) return past; // an open quote swallows the rest; the value's parser refuses it
      i += past - 1;
    }
  }
  return std::string_view::npos;
}

bool quotes_balanced(std::string_view s) {
  for (std::size_t at = s.find('"'); at != std::string_view::npos; at = s.find('"', at)) {
    const std::size_t past = past_quoted(s.substr(at));
    if (past == std::string_view::npos) return false;
    at += past;
  }
  return true;
}

} // namespace skald::sip::lex
