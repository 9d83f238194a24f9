#include "sip/message/name_addr.hpp"

#include "base/encoding.hpp"
#include "sip/message/lex.hpp"

#include <algorithm>

namespace skald::sip {

namespace {

bool is_clean_uri(std::string_view text) {
  const auto is_foul = [](char c) { return lex::is_control(c) || c == ' ' || c == '<' || c == '>' || c == '"'; };
  return !text.empty() && std::ranges::none_of(text, is_foul);
}

// What follows the URI: nothing, or header parameters.
bool take_params(std::string_view rest, name_addr& out) {
  rest = lex::trim(rest);
  if (!rest.empty() && rest.front() != ';') return false;
  out.params = rest;
  return lex::is_closed(rest);
}

result<name_addr> parse_addr_spec(std::string_view value) {
  name_addr out;
  const std::size_t semicolon = value.find(';');
  out.uri_text = lex::trim(value.substr(0, semicolon));
  if (!is_clean_uri(out.uri_text)) return std::unexpected(errc::malformed);
  // RFC 3261 §20.10: a URI with a comma or question mark has to stand in brackets.
  if (out.uri_text.find_first_of(",?") != std::string_view::npos) return std::unexpected(errc::malformed);
  if (semicolon != std::string_view::npos && !take_params(value.substr(semicolon), out))
    return std::unexpected(errc::malformed);
  return out;
}

} // namespace

std::optional<std::string_view> find_param(std::string_view params, std::string_view name) {
  std::size_t at = params.find(';');
  while (at < params.size()) {
    const std::string_view rest = params.substr(at + 1);
    const std::size_t end = lex::find_top_level(rest, ';');
    const std::string_view one = rest.substr(0, end);
    const std::size_t equals = one.find('=');
    if (equal_nocase(lex::trim(one.substr(0, equals)), name)) {
      if (equals == std::string_view::npos) return std::string_view{};
      std::string_view value = lex::trim(one.substr(equals + 1));
      if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
      return value;
    }
    if (end == std::string_view::npos) break;
    at += 1 + end;
  }
  return std::nullopt;
}

std::optional<std::string_view> name_addr::param(std::string_view name) const { return find_param(params, name); }

// RFC 3261 §25.1: name-addr = [ display-name ] LAQUOT addr-spec RAQUOT; display-name = *(token LWS) / quoted-string.
result<name_addr> parse_name_addr(std::string_view value) {
  value = lex::trim(value);
  if (value.empty()) return std::unexpected(errc::malformed);
  name_addr out;
  std::size_t open;
  if (value.front() == '"') {
    const std::size_t past = lex::past_quoted(value);
    if (past == std::string_view::npos) return std::unexpected(errc::malformed);
    out.display = value.substr(1, past - 2);
    open = past;
    while (open < value.size() && lex::is_space(value[open])) ++open;
    if (open == value.size() || value[open] != '<') return std::unexpected(errc::malformed);
  } else {
    open = value.find('<');
    if (open == std::string_view::npos || value.find(';') < open) return parse_addr_spec(value);
    out.display = lex::trim(value.substr(0, open));
    // Phones send more than tokens here; only what makes the value ambiguous is refused (RFC 4475 §3.1.2.6, 3.1.2.15).
    if (out.display.find_first_of("\",;>") != std::string_view::npos) return std::unexpected(errc::malformed);
  }
  const std::size_t close = value.find('>', open);
  if (close == std::string_view::npos) return std::unexpected(errc::malformed);
  out.in_brackets = true;
  out.uri_text = value.substr(open + 1, close - open - 1);
  if (!is_clean_uri(out.uri_text) || !take_params(value.substr(close + 1), out)) return std::unexpected(errc::malformed);
  return out;
}

} // namespace skald::sip
