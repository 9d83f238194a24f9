#include "dnsupdate/record.hpp"

#include "base/encoding.hpp"
#include "dnsupdate/knot.hpp"

#include <cstring>
#include <fmt/format.h>

namespace skald::dnsupdate {
namespace {

constexpr std::size_t text_max = 255; // RFC 1035 §3.3: a character string

void put_text(std::string& out, std::string_view text) {
  text = text.substr(0, text_max);
  out.push_back(static_cast<char>(text.size()));
  out.append(text);
}

result<std::string> text_at(std::string_view in, std::size_t& offset) {
  if (offset >= in.size()) return std::unexpected(errc::incomplete);
  const std::size_t size = static_cast<std::uint8_t>(in[offset]);
  if (offset + 1 + size > in.size()) return std::unexpected(errc::incomplete);
  std::string out(in.substr(offset + 1, size));
  offset += 1 + size;
  return out;
}

std::size_t dname_size(std::string_view wire, std::size_t offset) {
  if (offset >= wire.size()) return 0;
  const auto* begin = reinterpret_cast<const std::uint8_t*>(wire.data());
  const int size = knot_dname_wire_check(begin + offset, begin + wire.size(), nullptr);
  return size > 0 ? static_cast<std::size_t>(size) : 0;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto u = static_cast<std::uint8_t>(c);
    if (c == '"' || c == '\\') out += '\\';
    if (u < 0x20 || u > 0x7e) out += fmt::format("\\{:03}", u);
    else out += c;
  }
  return out + '"';
}

std::string dotted(std::string_view name) { return name == "." ? "." : std::string(name) + "."; }

} // namespace

std::string_view to_string(rr_type t) {
  switch (t) {
  case rr_type::a: return "A";
  case rr_type::ns: return "NS";
  case rr_type::soa: return "SOA";
  case rr_type::txt: return "TXT";
  case rr_type::aaaa: return "AAAA";
  case rr_type::srv: return "SRV";
  case rr_type::naptr: return "NAPTR";
  }
  return "?";
}

std::string to_dname(std::string_view text) {
  std::uint8_t wire[KNOT_DNAME_MAXLEN];
  const std::string lower_text = to_lower(text.empty() ? "." : text);
  if (knot_dname_from_str(wire, lower_text.c_str(), sizeof wire) == nullptr) return {};
  return {reinterpret_cast<const char*>(wire), knot_dname_size(wire)};
}

std::string from_dname(std::string_view wire, std::size_t offset) {
  if (dname_size(wire, offset) == 0) return {};
  char buffer[KNOT_DNAME_TXT_MAXLEN + 1];
  const auto* at = reinterpret_cast<const std::uint8_t*>(wire.data()) + offset;
  if (knot_dname_to_str(buffer, at, sizeof buffer) == nullptr) return {};
  std::string out = to_lower(buffer);
  if (out.size() > 1 && out.ends_with('.')) out.pop_back();
  return out;
}

bool is_under(std::string_view name, std::string_view zone) {
  if (zone == ".") return true;
  if (name == zone) return true;
  return name.size() > zone.size() && name.ends_with(zone) && name[name.size() - zone.size() - 1] == '.';
}

record address_record(std::string name, std::uint32_t ttl, const ip_address& ip) {
  const std::size_t size = ip.is_v4() ? 4 : 16;
  return {std::move(name), ip.is_v4() ? rr_type::a : rr_type::aaaa, ttl,
          std::string(reinterpret_cast<const char*>(ip.bytes.data()), size)};
}

record ns_record(std::string name, std::uint32_t ttl, std::string_view server) {
  return {std::move(name), rr_type::ns, ttl, to_dname(server)};
}

record txt_record(std::string name, std::uint32_t ttl, std::span<const std::string> strings) {
  record out{std::move(name), rr_type::txt, ttl, {}};
  for (const std::string& s : strings) put_text(out.rdata, s);
  return out;
}

record srv_record_of(std::string name, std::uint32_t ttl, const srv_data& data) { // RFC 2782
  record out{std::move(name), rr_type::srv, ttl, {}};
  for (const std::uint16_t v : {data.priority, data.weight, data.port}) put_be(out.rdata, v);
  out.rdata += to_dname(data.target);
  return out;
}

record naptr_record_of(std::string name, std::uint32_t ttl, const naptr_data& data) { // RFC 3403 §4.1
  record out{std::move(name), rr_type::naptr, ttl, {}};
  for (const std::uint16_t v : {data.order, data.preference}) put_be(out.rdata, v);
  put_text(out.rdata, data.flags);
  put_text(out.rdata, data.service);
  put_text(out.rdata, "");
  out.rdata += to_dname(data.replacement);
  return out;
}

record soa_record(std::string name, std::uint32_t ttl, const soa_data& data) {
  record out{std::move(name), rr_type::soa, ttl, to_dname(data.primary) + to_dname(data.mailbox)};
  for (const std::uint32_t v : {data.serial, data.refresh, data.retry, data.expire, data.minimum}) put_be(out.rdata, v);
  return out;
}

result<srv_data> read_srv(const record& r) {
  if (r.type != rr_type::srv || r.rdata.size() < 7) return std::unexpected(errc::malformed);
  const std::string_view d = r.rdata;
  srv_data out{get_be<std::uint16_t>(d), get_be<std::uint16_t>(d.substr(2)), get_be<std::uint16_t>(d.substr(4)), from_dname(d, 6)};
  if (out.target.empty()) return std::unexpected(errc::malformed);
  return out;
}

result<naptr_data> read_naptr(const record& r) {
  if (r.type != rr_type::naptr || r.rdata.size() < 8) return std::unexpected(errc::malformed);
  const std::string_view d = r.rdata;
  std::size_t offset = 4;
  const auto flags = text_at(d, offset);
  const auto service = flags ? text_at(d, offset) : flags;
  const auto regexp = service ? text_at(d, offset) : service;
  if (!regexp) return std::unexpected(errc::malformed);
  naptr_data out{get_be<std::uint16_t>(d), get_be<std::uint16_t>(d.substr(2)), *flags, *service, from_dname(d, offset)};
  if (out.replacement.empty()) return std::unexpected(errc::malformed);
  return out;
}

result<soa_data> read_soa(const record& r) {
  const std::size_t first = r.type == rr_type::soa ? dname_size(r.rdata, 0) : 0;
  const std::size_t second = first > 0 ? dname_size(r.rdata, first) : 0;
  if (second == 0 || r.rdata.size() != first + second + 20) return std::unexpected(errc::malformed);
  soa_data out{from_dname(r.rdata), from_dname(r.rdata, first)};
  std::uint32_t* fields[] = {&out.serial, &out.refresh, &out.retry, &out.expire, &out.minimum};
  for (std::size_t i = 0; i < 5; ++i) *fields[i] = get_be<std::uint32_t>(std::string_view(r.rdata).substr(first + second + 4 * i));
  return out;
}

result<std::vector<std::string>> read_txt(const record& r) {
  if (r.type != rr_type::txt) return std::unexpected(errc::malformed);
  std::vector<std::string> out;
  for (std::size_t offset = 0; offset < r.rdata.size();) {
    auto text = text_at(r.rdata, offset);
    if (!text) return std::unexpected(text.error());
    out.push_back(std::move(*text));
  }
  return out;
}

result<ip_address> read_address(const record& r) {
  const bool v4 = r.type == rr_type::a;
  if ((!v4 && r.type != rr_type::aaaa) || r.rdata.size() != (v4 ? 4u : 16u)) return std::unexpected(errc::malformed);
  ip_address out;
  out.family = v4 ? ip_family::v4 : ip_family::v6;
  std::memcpy(out.bytes.data(), r.rdata.data(), r.rdata.size());
  return out;
}

std::string data_text(const record& r) {
  switch (r.type) {
  case rr_type::a:
  case rr_type::aaaa:
    if (const auto ip = read_address(r)) return ip->text();
    break;
  case rr_type::ns: return dotted(from_dname(r.rdata));
  case rr_type::srv:
    if (const auto s = read_srv(r)) return fmt::format("{} {} {} {}", s->priority, s->weight, s->port, dotted(s->target));
    break;
  case rr_type::naptr:
    if (const auto n = read_naptr(r))
      return fmt::format("{} {} {} {} \"\" {}", n->order, n->preference, quoted(n->flags), quoted(n->service), dotted(n->replacement));
    break;
  case rr_type::soa:
    if (const auto s = read_soa(r))
      return fmt::format("{} {} {} {} {} {} {}", dotted(s->primary), dotted(s->mailbox), s->serial, s->refresh, s->retry, s->expire, s->minimum);
    break;
  case rr_type::txt:
    if (const auto strings = read_txt(r)) {
      std::string out;
      for (const std::string& s : *strings) out += (out.empty() ? "" : " ") + quoted(s);
      return out;
    }
    break;
  }
  return "\\# " + std::to_string(r.rdata.size()) + " " + to_hex(r.rdata); // RFC 3597 §5
}

std::string line_text(const record& r) { return fmt::format("{:<32} {:>5} IN {:<5} {}", dotted(r.name), r.ttl, to_string(r.type), data_text(r)); }

} // namespace skald::dnsupdate
