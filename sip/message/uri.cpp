#include "sip/message/uri.hpp"

#include "base/encoding.hpp"
#include "sip/message/host_port.hpp"
#include "sip/message/lex.hpp"
#include "sip/message/name_addr.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace skald::sip {

namespace {

constexpr auto npos = std::string_view::npos;

bool is_scheme(std::string_view s) { // RFC 3986 §3.1
  if (s.empty() || !lex::is_alpha(s.front())) return false;
  return std::ranges::all_of(
      s, [](char c) { return lex::is_alpha(c) || lex::is_digit(c) || c == '+' || c == '-' || c == '.'; });
}

bool has_forbidden(std::string_view text) {
  return std::ranges::any_of(
      text, [](char c) { return lex::is_control(c) || c == ' ' || c == '<' || c == '>' || c == '"'; });
}

// RFC 3261 §25.1: SIP-URI = "sip:" [ userinfo ] hostport uri-parameters [ headers ].
result<uri> parse_sip(uri out, std::string_view rest) {
  if (const std::size_t at = rest.find('@'); at != npos) {
    // A second '@' could be read as another host by someone else.
    if (at == 0 || rest.find('@', at + 1) != npos) return std::unexpected(errc::malformed);
    const std::string_view userinfo = rest.substr(0, at);
    const std::size_t colon = userinfo.find(':');
    out.user = userinfo.substr(0, colon);
    if (colon != npos) out.password = userinfo.substr(colon + 1);
    if (out.user.empty()) return std::unexpected(errc::malformed);
    rest.remove_prefix(at + 1);
  }
  const std::size_t host_end = rest.find_first_of(";?");
  const auto where = parse_host_port(rest.substr(0, host_end), white_space::nowhere);
  if (!where) return std::unexpected(where.error());
  out.host = where->host;
  out.port = where->port;
  if (host_end == npos) return out;
  rest.remove_prefix(host_end);
  const std::size_t question = rest.find('?');
  out.params = rest.substr(0, question);
  if (question != npos) out.headers = rest.substr(question);
  return out;
}

// RFC 3966 §3: the number, global or local, with its visual separators.
result<uri> parse_tel(uri out, std::string_view rest) {
  const std::size_t semicolon = rest.find(';');
  out.user = rest.substr(0, semicolon);
  if (semicolon != npos) out.params = rest.substr(semicolon);
  constexpr std::string_view allowed = "0123456789abcdefABCDEF*#+-.()";
  if (out.user.empty() || out.user.find_first_not_of(allowed) != npos) return std::unexpected(errc::malformed);
  return out;
}

int hex_digit(char c) {
  if (lex::is_digit(c)) return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

// The byte of the escape at `i`, or -1 if none stands there.
int escaped_at(std::string_view s, std::size_t i) {
  if (s[i] != '%' || i + 2 >= s.size()) return -1;
  const int high = hex_digit(s[i + 1]), low = hex_digit(s[i + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// Reserved characters differ from their escapes (RFC 3261 §19.1.4); the rest is written plain where that is harmless.
bool is_plain(int byte) {
  return byte > 0x20 && byte < 0x7f && std::string_view(";/?:@&=+$,%\"<>").find(static_cast<char>(byte)) == npos;
}

std::string normal_form(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const auto put_escape = [&out](int byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    out += '%';
    out += digits[static_cast<std::size_t>(byte >> 4)];
    out += digits[static_cast<std::size_t>(byte & 15)];
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int byte = escaped_at(text, i);
    if (byte >= 0) {
      if (is_plain(byte)) out += static_cast<char>(byte);
      else put_escape(byte);
      i += 2;
    } else if (const int raw = static_cast<unsigned char>(text[i]); raw <= 0x20 || raw >= 0x7f || raw == '%') {
      put_escape(raw); // a '%' that begins no escape, too: it could begin one in the result
    } else {
      out += text[i];
    }
  }
  return out;
}

struct pair {
  std::string name, value;
  auto operator<=>(const pair&) const = default;
};

std::vector<pair> split_pairs(std::string_view text, char separator, bool lower_values) {
  std::vector<pair> out;
  while (!text.empty()) {
    text.remove_prefix(1); // ';', '?' or '&'
    const std::size_t end = text.find(separator);
    const std::string_view one = text.substr(0, end);
    const std::size_t equals = one.find('=');
    const std::string value = equals == npos ? std::string{} : normal_form(one.substr(equals + 1));
    out.push_back({to_lower(normal_form(one.substr(0, equals))), lower_values ? to_lower(value) : value});
    text.remove_prefix(end == npos ? text.size() : end);
  }
  std::ranges::sort(out);
  return out;
}

bool params_equal(std::string_view a, std::string_view b) {
  // One that only one URI has never matches if it is among these; others are then ignored (§19.1.4 and its erratum).
  constexpr std::array<std::string_view, 5> weighty = {"user", "ttl", "method", "maddr", "transport"};
  const std::vector<pair> left = split_pairs(a, ';', true), right = split_pairs(b, ';', true);
  if (left == right) return true; // also where one name comes twice
  const auto fits = [&](const std::vector<pair>& mine, const std::vector<pair>& theirs) {
    return std::ranges::all_of(mine, [&](const pair& p) {
      const auto other = std::ranges::find(theirs, p.name, &pair::name);
      if (other == theirs.end()) return std::ranges::find(weighty, p.name) == weighty.end();
      return other->value == p.value;
    });
  };
  return fits(left, right) && fits(right, left);
}

} // namespace

std::optional<std::string_view> uri::param(std::string_view name) const { return find_param(params, name); }

result<uri> parse_uri(std::string_view text) {
  if (has_forbidden(text)) return std::unexpected(errc::malformed);
  const std::size_t colon = text.find(':');
  if (colon == npos || colon + 1 == text.size()) return std::unexpected(errc::malformed);
  uri out;
  out.text = text;
  out.scheme_text = text.substr(0, colon);
  if (!is_scheme(out.scheme_text)) return std::unexpected(errc::malformed);
  const std::string_view rest = text.substr(colon + 1);
  if (equal_nocase(out.scheme_text, "sip")) {
    out.scheme = uri_scheme::sip;
    return parse_sip(out, rest);
  }
  if (equal_nocase(out.scheme_text, "sips")) {
    out.scheme = uri_scheme::sips;
    return parse_sip(out, rest);
  }
  if (equal_nocase(out.scheme_text, "tel")) {
    out.scheme = uri_scheme::tel;
    return parse_tel(out, rest);
  }
  return out;
}

bool equal(const uri& a, const uri& b) { // RFC 3261 §19.1.4
  if (a.scheme != b.scheme) return false;
  if (a.scheme == uri_scheme::other) return a.text == b.text;
  if (a.port != b.port || !equal_nocase(a.host, b.host)) return false;
  if (a.password.has_value() != b.password.has_value()) return false;
  if (normal_form(a.user) != normal_form(b.user)) return false;
  if (a.password && normal_form(*a.password) != normal_form(*b.password)) return false;
  return params_equal(a.params, b.params) &&
         split_pairs(a.headers, '&', false) == split_pairs(b.headers, '&', false); // header components never ignored
}

std::string unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int byte = escaped_at(text, i);
    out += byte >= 0 ? static_cast<char>(byte) : text[i];
    if (byte >= 0) i += 2;
  }
  return out;
}

result<std::string> canonical_aor(const uri& u, std::string_view default_domain) {
  if (u.scheme == uri_scheme::other) return std::unexpected(errc::unsupported);
  if (u.user.empty()) return std::unexpected(errc::missing);
  std::string out = "sip:";
  std::string_view domain = u.host;
  if (u.scheme == uri_scheme::tel) {
    for (const char c : u.user)
      if (std::string_view("-.()").find(c) == npos) out += c; // RFC 3966 §5.1.1: visual separators
    if (out.size() == 4) return std::unexpected(errc::malformed);
    domain = default_domain;
  } else {
    out += normal_form(u.user);
  }
  while (domain.ends_with('.')) domain.remove_suffix(1); // the same name, fully qualified
  if (domain.empty()) return std::unexpected(errc::malformed);
  out += '@';
  for (const char c : domain) out += lower(c);
  return out;
}

} // namespace skald::sip
