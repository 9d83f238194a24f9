#include "dht/view/body_codec.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

void put_addresses(pack::writer& w, const std::vector<ip_address>& addresses) {
  w.array(addresses.size());
  for (const ip_address& a : addresses)
    w.bin({reinterpret_cast<const char*>(a.bytes.data()), a.is_v4() ? std::size_t{4} : std::size_t{16}});
}

std::vector<ip_address> get_addresses(pack::reader& r) {
  std::vector<ip_address> out;
  for (std::size_t left = r.array(body_addresses_max); left > 0 && r.ok(); --left) {
    const std::string_view raw = r.bin();
    if (raw.size() != 4 && raw.size() != 16) return r.fail(), out;
    ip_address a;
    a.family = raw.size() == 4 ? ip_family::v4 : ip_family::v6;
    std::ranges::copy(raw, reinterpret_cast<char*>(a.bytes.data()));
    out.push_back(a);
  }
  return out;
}

std::string get_text(pack::reader& r) {
  const std::string_view t = r.bin();
  if (t.size() > body_text_max) r.fail();
  return r.ok() ? std::string(t) : std::string();
}

} // namespace

std::string encode_body(const member_body& b) {
  std::string out;
  pack::writer w(out);
  w.array(15);
  w.uint(b.version);
  w.str(b.name);
  put_addresses(w, b.addresses);
  for (const std::uint16_t port : {b.overlay_port, b.link_port, b.sip_port, b.sips_port, b.dns_port}) w.uint(port);
  w.str(b.zone);
  w.uint(b.capacity);
  w.uint(b.roles.bits);
  w.uint(b.wire_lowest);
  w.uint(b.wire_highest);
  w.str(b.software);
  w.boolean(b.overloaded);
  return out;
}

result<member_body> decode_body(std::string_view bytes) {
  if (bytes.size() > body_bytes_max) return std::unexpected(errc::too_large);
  pack::reader r(bytes);
  member_body b;
  {
    pack::fields f(r);
    b.version = f.uint();
    if (f.next()) b.name = get_text(r);
    if (f.next()) b.addresses = get_addresses(r);
    for (std::uint16_t* port : {&b.overlay_port, &b.link_port, &b.sip_port, &b.sips_port, &b.dns_port})
      if (f.next()) *port = r.number<std::uint16_t>();
    if (f.next()) b.zone = get_text(r);
    if (f.next()) b.capacity = r.number<std::uint32_t>(65535);
    b.roles.bits = f.number<std::uint16_t>(b.roles.bits);
    b.wire_lowest = f.number<std::uint32_t>(b.wire_lowest);
    b.wire_highest = f.number<std::uint32_t>(b.wire_highest);
    if (f.next()) b.software = get_text(r);
    b.overloaded = f.boolean();
  }
  if (!r.ok() || b.name.empty() || b.capacity == 0) return std::unexpected(errc::malformed);
  return b;
}

void put_fact(pack::writer& w, const fact& f) {
  w.array(5);
  w.bin(f.id.view());
  w.uint(f.self.life);
  w.uint(f.self.incarnation);
  w.uint(static_cast<std::uint8_t>(f.state));
  w.uint(f.version);
}

fact get_fact(pack::reader& r) {
  fact out;
  pack::fields f(r);
  if (!f.more()) r.fail(); // a fact without a subject
  out.id = f.id<node_id>();
  if (f.next()) out.self.life = r.number<std::uint64_t>(life_max);
  if (f.next()) out.self.incarnation = r.number<std::uint32_t>(incarnation_max);
  if (f.next()) out.state = static_cast<member_state>(r.number<std::uint8_t>(static_cast<std::uint8_t>(member_state::left)));
  out.version = f.uint();
  return out;
}

} // namespace skald::dht
