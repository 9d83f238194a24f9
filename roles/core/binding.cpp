#include "roles/core/binding.hpp"

#include "base/encoding.hpp"
#include "dht/view/pack.hpp"
#include "sip/message/uri.hpp"


namespace skald::roles {
namespace {

namespace pack = dht::pack;

constexpr std::size_t fields_written = 14;
constexpr std::size_t path_values_max = 32;

std::string normalized(std::string_view contact) {
  const auto u = sip::parse_uri(contact);
  if (!u || u->host.empty()) return std::string(contact);
  std::string out = to_lower(u->scheme_text) + ':';
  if (!u->user.empty()) out += sip::unescape(u->user) + '@';
  out += to_lower(u->host);
  if (u->port != 0) out += ':' + std::to_string(u->port);
  return out + to_lower(u->params);
}

} // namespace

// Two contacts that are equal by RFC 3261 §19.1.4 may have different items (a parameter that one of them lacks): the
// registrar compares them, and replaces the old item by the new one.
std::string binding::item() const {
  if (!instance.empty() && reg_id != 0) return "i:" + instance + ":" + std::to_string(reg_id);
  return "c:" + normalized(contact);
}

std::string encode(const binding& b) {
  std::string out;
  pack::writer w(out);
  w.array(fields_written);
  w.str(b.aor);
  w.str(b.contact);
  w.str(b.contact_params);
  w.uint(b.q);
  w.str(b.instance);
  w.uint(b.reg_id);
  w.str(b.call_id);
  w.uint(b.cseq);
  w.array(b.path.size());
  for (const std::string& p : b.path) w.str(p);
  w.str(b.edge);
  w.str(b.user_agent);
  w.sint(b.updated);
  w.sint(b.expires);
  w.uint(b.id);
  return out;
}

result<binding> decode_binding(std::string_view bytes) {
  pack::reader r(bytes);
  binding b;
  {
    pack::fields f(r);
    if (f.more()) b.aor = r.bin();
    if (f.more()) b.contact = r.bin();
    if (f.more()) b.contact_params = r.bin();
    if (f.more()) b.q = r.number<std::uint16_t>(1000);
    if (f.more()) b.instance = r.bin();
    if (f.more()) b.reg_id = r.number<std::uint32_t>();
    if (f.more()) b.call_id = r.bin();
    if (f.more()) b.cseq = r.number<std::uint32_t>();
    if (f.more()) {
      const std::size_t values = r.array();
      if (values > path_values_max) return std::unexpected(errc::too_large);
      for (std::size_t i = 0; i < values && r.ok(); ++i) b.path.emplace_back(r.bin());
    }
    if (f.more()) b.edge = r.bin();
    if (f.more()) b.user_agent = r.bin();
    if (f.more()) b.updated = r.sint();
    if (f.more()) b.expires = r.sint();
    if (f.more()) b.id = r.uint();
  }
  if (!r.ok() || !r.at_end()) return std::unexpected(errc::malformed);
  if (b.aor.empty() || b.contact.empty()) return std::unexpected(errc::missing);
  return b;
}

} // namespace skald::roles
