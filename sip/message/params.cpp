#include "sip/message/params.hpp"

#include "base/encoding.hpp"
#include "sip/message/lex.hpp"

#include <algorithm>

namespace skald::sip {

namespace {

bool is_named(std::string_view name, param_names names) {
  return std::ranges::any_of(names, [name](std::string_view n) { return equal_nocase(n, name); });
}

} // namespace

std::optional<parameter> next_param(std::string_view& rest) {
  while (!rest.empty()) {
    rest.remove_prefix(1); // the ';'
    const std::size_t end = lex::find_top_level(rest, ';');
    parameter out{.text = lex::trim(rest.substr(0, end))};
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end);
    if (out.text.empty()) continue;
    const std::size_t equals = out.text.find('=');
    out.name = lex::trim_right(out.text.substr(0, equals));
    out.has_value = equals != std::string_view::npos;
    if (out.has_value) out.value = lex::trim_left(out.text.substr(equals + 1));
    return out;
  }
  return std::nullopt;
}

std::string without_params(std::string_view params, param_names names) {
  std::string out;
  out.reserve(params.size());
  while (const auto p = next_param(params))
    if (!is_named(p->name, names)) out.append(";").append(p->text);
  return out;
}

std::string without_params(const uri& u, param_names names) {
  // params and headers are views of the end of the text
  std::string out(u.text.substr(0, u.text.size() - u.params.size() - u.headers.size()));
  return out.append(without_params(u.params, names)).append(u.headers);
}

std::string with_param(const uri& u, std::string_view name, std::string_view value) {
  std::string out(u.text.substr(0, u.text.size() - u.params.size() - u.headers.size()));
  out.append(without_params(u.params, {name})).append(";").append(name);
  if (!value.empty()) out.append("=").append(value);
  return out.append(u.headers);
}

std::vector<std::string_view> split_top_level(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(lex::find_top_level(text, separator, at), text.size());
    const std::string_view one = lex::trim(text.substr(at, end - at));
    if (!one.empty()) out.push_back(one);
    at = end + 1;
  }
  return out;
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  }
  return out += '"';
}

std::string unquote(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    out += text[i];
  }
  return out;
}

std::string escape_user(std::string_view text) {
  constexpr std::string_view allowed = "-_.!~*'()&=+$,;?/"; // mark and user-unreserved
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (lex::is_alpha(c) || lex::is_digit(c) || allowed.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

bool is_token(std::string_view text) { return lex::is_token(text); }

} // namespace skald::sip
