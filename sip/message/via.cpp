#include "sip/message/via.hpp"

#include "base/encoding.hpp"
#include "sip/message/host_port.hpp"
#include "sip/message/lex.hpp"
#include "sip/message/name_addr.hpp"

namespace skald::sip {

namespace {

// One token of sent-protocol; white space may stand on both sides of it. Empty if there is none.
std::string_view take_token(std::string_view& rest) {
  rest = lex::trim_left(rest);
  std::size_t n = 0;
  while (n < rest.size() && lex::is_token_char(rest[n])) ++n;
  const std::string_view token = rest.substr(0, n);
  rest.remove_prefix(n);
  return token;
}

bool take_slash(std::string_view& rest) {
  rest = lex::trim_left(rest);
  if (!rest.starts_with('/')) return false;
  rest.remove_prefix(1);
  return true;
}

} // namespace

std::optional<std::string_view> via::param(std::string_view name) const { return find_param(params, name); }

// RFC 3261 §25.1: via-parm = sent-protocol LWS sent-by *( SEMI via-params ), SLASH and COLON with white space around.
result<via> parse_via(std::string_view value) {
  std::string_view rest = value;
  const std::string_view protocol = take_token(rest);
  if (!take_slash(rest)) return std::unexpected(errc::malformed);
  const std::string_view version = take_token(rest);
  if (!take_slash(rest)) return std::unexpected(errc::malformed);
  via out;
  out.transport = take_token(rest);
  if (protocol.empty() || version.empty() || out.transport.empty()) return std::unexpected(errc::malformed);
  // Any version: whether we speak it is said by the start line, and a 505 has to find its way back too.
  if (!equal_nocase(protocol, "SIP")) return std::unexpected(errc::unsupported);
  if (rest.empty() || !lex::is_space(rest.front())) return std::unexpected(errc::malformed);

  const std::size_t semicolon = rest.find(';');
  const auto sent_by = parse_host_port(rest.substr(0, semicolon), white_space::around_colon);
  if (!sent_by) return std::unexpected(sent_by.error());
  out.host = sent_by->host;
  out.port = sent_by->port;
  if (semicolon != std::string_view::npos) out.params = lex::trim_right(rest.substr(semicolon));
  if (!lex::is_closed(out.params)) return std::unexpected(errc::malformed);
  out.branch = out.param("branch").value_or(std::string_view{});
  return out;
}

} // namespace skald::sip
