#include "roles/core/binding.hpp"

#include "base/encoding.hpp"
#include "base/pack.hpp"
#include "sip/message/uri.hpp"

namespace skald::roles {
namespace {

constexpr std::size_t fields_written = 14; // and the former flows, where there are any
constexpr std::size_t former_flows_read_max = 16;
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
  w.array(fields_written + (b.former.empty() ? 0 : 1));
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
  if (b.former.empty()) return out;
  w.array(b.former.size());
  for (const former_flow& f : b.former) w.array(3).uint(f.binding_id).str(f.path).sint(f.until);
  return out;
}

result<binding> decode_binding(std::string_view bytes) {
  pack::reader r(bytes);
  binding b;
  {
    pack::fields f(r);
    b.aor = f.bin();
    b.contact = f.bin();
    b.contact_params = f.bin();
    if (f.next()) b.q = r.number<std::uint16_t>(1000);
    b.instance = f.bin();
    b.reg_id = f.number<std::uint32_t>(b.reg_id);
    b.call_id = f.bin();
    b.cseq = f.number<std::uint32_t>(b.cseq);
    for (pack::fields values = f.array(path_values_max); values.more();) b.path.emplace_back(values.bin());
    b.edge = f.bin();
    b.user_agent = f.bin();
    b.updated = f.sint();
    b.expires = f.sint();
    b.id = f.uint();
    for (pack::fields list = f.array(former_flows_read_max); list.more();) {
      pack::fields one = list.array();
      former_flow was;
      was.binding_id = one.uint();
      was.path = one.bin();
      was.until = one.sint();
      b.former.push_back(std::move(was));
    }
  }
  if (!r.ok() || !r.at_end()) return std::unexpected(errc::malformed);
  if (b.aor.empty() || b.contact.empty()) return std::unexpected(errc::missing);
  return b;
}

} // namespace skald::roles
