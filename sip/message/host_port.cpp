#include "sip/message/host_port.hpp"

#include "base/endpoint.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/lex.hpp"

#include <algorithm>
#include <string>

namespace skald::sip {

namespace {

bool is_ipv6_reference(std::string_view host) {
  if (host.size() < 3 || host.back() != ']') return false;
  // No zone ids: inet_pton refuses them, and an address of someone else's link means nothing here.
  if (ip_address::parse(host)) return true;
  // RFC 5118 §4.10: RFC 3261's own grammar makes a third colon before an embedded IPv4 address; taken, as a name that
  // resolves to nothing.
  const std::size_t colons = host.find(":::");
  if (colons == std::string_view::npos || host.find('.') == std::string_view::npos) return false;
  if (host.find(':', colons + 3) != std::string_view::npos) return false;
  return ip_address::parse(std::string(host).erase(colons, 1)).has_value();
}

bool is_host(std::string_view host) {
  if (host.empty()) return false;
  if (host.front() == '[') return is_ipv6_reference(host);
  // '_' is no host name character, but service names and Windows machines bring it.
  return std::ranges::all_of(
      host, [](char c) { return lex::is_alpha(c) || lex::is_digit(c) || c == '-' || c == '.' || c == '_'; });
}

} // namespace

result<host_port> parse_host_port(std::string_view text, white_space allowed) {
  const bool spaces = allowed == white_space::around_colon;
  if (spaces) text = lex::trim(text);
  const std::size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string_view::npos) return std::unexpected(errc::malformed);
  const std::size_t colon = text.find(':', bracket);
  host_port out{.host = text.substr(0, colon)};
  if (spaces) out.host = lex::trim_right(out.host);
  if (!is_host(out.host)) return std::unexpected(errc::malformed);
  if (colon == std::string_view::npos) return out;
  std::string_view digits = text.substr(colon + 1);
  if (spaces) digits = lex::trim_left(digits);
  const auto port = parse_number(digits);
  if (!port || *port == 0 || *port > 65535) return std::unexpected(errc::malformed);
  out.port = static_cast<std::uint16_t>(*port);
  return out;
}

} // namespace skald::sip
