#include "sip/message/cseq.hpp"

#include "sip/message/lex.hpp"

#include <limits>

namespace skald::sip {

result<std::uint32_t> parse_number(std::string_view value) {
  if (value.empty()) return std::unexpected(errc::malformed);
  std::uint64_t n = 0;
  bool over = false;
  for (const char c : value) {
    if (!lex::is_digit(c)) return std::unexpected(errc::malformed);
    if (!over) n = n * 10 + static_cast<std::uint64_t>(c - '0');
    over = over || n > std::numeric_limits<std::uint32_t>::max();
  }
  if (over) return std::unexpected(errc::too_large);
  return static_cast<std::uint32_t>(n);
}

result<cseq> parse_cseq(std::string_view value) { // RFC 3261 §20.16: 1*DIGIT LWS Method
  std::size_t digits = 0;
  while (digits < value.size() && lex::is_digit(value[digits])) ++digits;
  const auto number = parse_number(value.substr(0, digits));
  if (!number) return std::unexpected(number.error());
  if (*number >= (1u << 31)) return std::unexpected(errc::too_large); // RFC 3261 §8.1.1.5
  const std::string_view rest = value.substr(digits);
  const std::string_view name = lex::trim(rest);
  if (name.size() == rest.size() || !lex::is_token(name)) return std::unexpected(errc::malformed);
  return cseq{.number = *number, .method_name = name, .method_id = method_from(name)};
}

} // namespace skald::sip
