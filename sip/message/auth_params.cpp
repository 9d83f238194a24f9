#include "sip/message/auth_params.hpp"

#include "base/encoding.hpp"
#include "sip/message/lex.hpp"

#include <algorithm>

namespace skald::sip {

namespace {

// Takes one name=value and the comma behind it off `rest`.
result<auth_param> take_param(std::string_view& rest) {
  const std::size_t equals = rest.find('=');
  if (equals == std::string_view::npos) return std::unexpected(errc::malformed);
  auth_param out{.name = lex::trim(rest.substr(0, equals))};
  if (!lex::is_token(out.name)) return std::unexpected(errc::malformed);
  rest = lex::trim_left(rest.substr(equals + 1));
  if (rest.starts_with('"')) {
    const std::size_t past = lex::past_quoted(rest);
    if (past == std::string_view::npos) return std::unexpected(errc::malformed);
    out.value = rest.substr(1, past - 2);
    out.quoted = true;
    rest = lex::trim_left(rest.substr(past));
    if (!rest.empty() && rest.front() != ',') return std::unexpected(errc::malformed);
  } else {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    out.value = lex::trim(rest.substr(0, comma));
    if (out.value.find_first_of("\" \t") != std::string_view::npos) return std::unexpected(errc::malformed);
    rest.remove_prefix(comma);
  }
  if (!rest.empty()) rest.remove_prefix(1); // the comma
  return out;
}

} // namespace

std::optional<std::string_view> auth_params::get(std::string_view name) const {
  const auto found = std::ranges::find_if(params, [name](const auth_param& p) { return equal_nocase(p.name, name); });
  return found == params.end() ? std::nullopt : std::optional(found->value);
}

result<auth_params> parse_auth_params(std::string_view value) {
  value = lex::trim(value);
  const std::size_t space = value.find_first_of(" \t");
  auth_params out;
  out.scheme = value.substr(0, space);
  if (!lex::is_token(out.scheme)) return std::unexpected(errc::malformed);
  std::string_view rest = space == std::string_view::npos ? std::string_view{} : value.substr(space);
  while (!(rest = lex::trim_left(rest)).empty()) {
    if (rest.front() == ',') { // empty list elements are tolerated, as HTTP's lists do
      rest.remove_prefix(1);
      continue;
    }
    const auto one = take_param(rest);
    if (!one) return std::unexpected(one.error());
    if (out.get(one->name)) return std::unexpected(errc::malformed);
    if (out.params.size() == auth_params_max) return std::unexpected(errc::too_large);
    out.params.push_back(*one);
  }
  return out;
}

} // namespace skald::sip
