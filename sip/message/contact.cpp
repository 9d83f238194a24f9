#include "sip/message/contact.hpp"

#include "sip/message/cseq.hpp"
#include "sip/message/lex.hpp"

#include <limits>

namespace skald::sip {

result<int> parse_qvalue(std::string_view text) { // ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
  if (text.empty() || (text[0] != '0' && text[0] != '1') || text.size() > 5) return std::unexpected(errc::malformed);
  if (text.size() > 1 && text[1] != '.') return std::unexpected(errc::malformed);
  int q = (text[0] - '0') * 1000, weight = 100;
  for (std::size_t i = 2; i < text.size(); ++i, weight /= 10) {
    if (!lex::is_digit(text[i])) return std::unexpected(errc::malformed);
    q += (text[i] - '0') * weight;
  }
  if (q > 1000) return std::unexpected(errc::malformed);
  return q;
}

result<contact> parse_contact(std::string_view value) {
  contact out;
  if (lex::trim(value) == "*") {
    out.is_star = true;
    return out;
  }
  const auto address = parse_name_addr(value);
  if (!address) return std::unexpected(address.error());
  const auto u = address->uri();
  if (!u) return std::unexpected(u.error());
  out.address = *address;
  out.ob = u->has_param("ob");
  if (const auto q = address->param("q"))
    if (const auto n = parse_qvalue(*q)) out.q = *n;
  if (const auto expires = address->param("expires")) {
    const auto n = parse_number(*expires);
    if (n) out.expires = *n;
    else if (n.error() == errc::too_large) out.expires = std::numeric_limits<std::uint32_t>::max();
  }
  if (auto instance = address->param("+sip.instance")) {
    if (instance->size() > 2 && instance->front() == '<' && instance->back() == '>')
      instance = instance->substr(1, instance->size() - 2);
    out.instance = *instance;
  }
  if (const auto reg_id = address->param("reg-id")) {
    const auto n = parse_number(*reg_id);
    if (n && *n > 0 && *n < (1u << 31)) out.reg_id = *n;
  }
  return out;
}

} // namespace skald::sip
