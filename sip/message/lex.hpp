#pragma once
// The smallest pieces of RFC 3261 §25.1's grammar, shared by the parsers of this folder. Pure functions over views.
#include <array>
#include <cstddef>
#include <string_view>

namespace skald::sip::lex {

constexpr bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; } // LWS, before unfolding
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

namespace detail {
constexpr std::array<bool, 256> make_token_table() {
  std::array<bool, 256> t{};
  for (int c = 0; c < 256; ++c) t[static_cast<std::size_t>(c)] = is_digit(static_cast<char>(c)) || is_alpha(static_cast<char>(c));
  for (const char c : std::string_view("-.!%*_+`'~")) t[static_cast<unsigned char>(c)] = true;
  return t;
}
inline constexpr std::array<bool, 256> token_table = make_token_table();
} // namespace detail

constexpr bool is_token_char(char c) { return detail::token_table[static_cast<unsigned char>(c)]; }
constexpr bool is_token(std::string_view s) {
  for (const char c : s)
    if (!is_token_char(c)) return false;
  return !s.empty();
}

constexpr std::string_view trim_left(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  return s;
}
constexpr std::string_view trim_right(std::string_view s) {
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}
constexpr std::string_view trim(std::string_view s) { return trim_right(trim_left(s)); }

// `s` begins with '"'. The position just past the closing quote, or npos if there is none.
std::size_t past_quoted(std::string_view s);
// The first `separator` at or after `from` that stands in no quoted string and in no angle brackets, or npos.
std::size_t find_top_level(std::string_view s, char separator, std::size_t from = 0);
// Whether every quoted string and every angle bracket of `s` is closed: what is appended stands at the top level then.
bool is_closed(std::string_view s);

} // namespace skald::sip::lex
