#include "dnsupdate/answer.hpp"

#include "base/encoding.hpp"
#include "dnsupdate/knot.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

namespace skald::dnsupdate {
namespace {

using packet_ptr = std::unique_ptr<knot_pkt_t, decltype(&knot_pkt_free)>;

std::uint16_t wire_type(sip::dns_type t) {
  switch (t) {
  case sip::dns_type::a: return KNOT_RRTYPE_A;
  case sip::dns_type::aaaa: return KNOT_RRTYPE_AAAA;
  case sip::dns_type::srv: return KNOT_RRTYPE_SRV;
  case sip::dns_type::naptr: return KNOT_RRTYPE_NAPTR;
  }
  return 0;
}

std::string text_of(const knot_dname_t* name) {
  char buffer[KNOT_DNAME_TXT_MAXLEN + 1];
  if (knot_dname_to_str(buffer, name, sizeof buffer) == nullptr) return {};
  std::string out = to_lower(buffer);
  if (out.size() > 1 && out.ends_with('.')) out.pop_back();
  return out;
}

struct rdata {
  const std::uint8_t* bytes;
  std::size_t size;
};

// A domain name inside rdata; libknot has already checked rdata of types it knows, uncompressed.
std::optional<std::string> name_at(const rdata& r, std::size_t offset) {
  if (offset >= r.size) return std::nullopt;
  const int length = knot_dname_wire_check(r.bytes + offset, r.bytes + r.size, nullptr);
  if (length <= 0) return std::nullopt;
  return text_of(r.bytes + offset);
}

std::optional<std::string> string_at(const rdata& r, std::size_t& offset) {
  if (offset >= r.size || offset + 1 + r.bytes[offset] > r.size) return std::nullopt;
  std::string out(reinterpret_cast<const char*>(r.bytes + offset + 1), r.bytes[offset]);
  offset += 1 + r.bytes[offset];
  return out;
}

std::uint16_t u16(const rdata& r, std::size_t offset) {
  return static_cast<std::uint16_t>((r.bytes[offset] << 8) | r.bytes[offset + 1]);
}

void take_address(sip::dns_answer& out, const rdata& r, ip_family family) {
  if (r.size != (family == ip_family::v4 ? 4u : 16u)) return;
  ip_address a;
  a.family = family;
  std::memcpy(a.bytes.data(), r.bytes, r.size);
  out.addresses.push_back(a);
}

void take_srv(sip::dns_answer& out, const rdata& r) {
  if (r.size < 7) return;
  const auto target = name_at(r, 6);
  if (!target) return;
  out.srv.push_back({u16(r, 0), u16(r, 2), u16(r, 4), *target == "." ? std::string{} : *target});
}

void take_naptr(sip::dns_answer& out, const rdata& r) {
  if (r.size < 7) return;
  std::size_t offset = 4;
  auto flags = string_at(r, offset);
  auto service = flags ? string_at(r, offset) : std::nullopt;
  auto regexp = service ? string_at(r, offset) : std::nullopt;
  const auto replacement = regexp ? name_at(r, offset) : std::nullopt;
  if (!replacement) return;
  out.naptr.push_back({u16(r, 0), u16(r, 2), *flags, *service, *regexp, *replacement});
}

void take(sip::dns_answer& out, sip::dns_type type, const rdata& r) {
  switch (type) {
  case sip::dns_type::a: return take_address(out, r, ip_family::v4);
  case sip::dns_type::aaaa: return take_address(out, r, ip_family::v6);
  case sip::dns_type::srv: return take_srv(out, r);
  case sip::dns_type::naptr: return take_naptr(out, r);
  }
}

// Calls f(rr, rdata) for each record of a section, within the limit.
template <class F>
void each_record(const knot_pktsection_t* section, F&& f) {
  std::size_t seen = 0;
  for (std::uint16_t i = 0; i < section->count; ++i) {
    const knot_rrset_t* rr = knot_pkt_rr(section, i);
    const knot_rdata_t* r = rr->rrs.rdata;
    for (std::uint16_t k = 0; k < rr->rrs.count && seen < answer_records_max; ++k, ++seen) {
      f(*rr, rdata{r->data, r->len});
      r = knot_rdataset_next(const_cast<knot_rdata_t*>(r));
    }
  }
}

// Follows CNAMEs from `name` as far as the answer has them; lowers `ttl` on the way.
std::string follow_aliases(const knot_pktsection_t* answer, std::string name, std::uint32_t& ttl) {
  for (int hop = 0; hop < alias_chain_max; ++hop) {
    std::optional<std::string> next;
    each_record(answer, [&](const knot_rrset_t& rr, const rdata& r) {
      if (rr.type != KNOT_RRTYPE_CNAME || next || text_of(rr.owner) != name) return;
      next = name_at(r, 0);
      ttl = std::min(ttl, rr.ttl);
    });
    if (!next) break;
    name = *next;
  }
  return name;
}

// RFC 2308 §5: the lesser of the SOA's TTL and its minimum field.
std::uint32_t negative_ttl(const knot_pktsection_t* authority) {
  std::uint32_t ttl = 0;
  each_record(authority, [&](const knot_rrset_t& rr, const rdata& r) {
    if (rr.type != KNOT_RRTYPE_SOA || r.size < 22) return;
    std::uint32_t minimum = 0;
    for (int i = 0; i < 4; ++i) minimum = (minimum << 8) | r.bytes[r.size - 4 + static_cast<std::size_t>(i)];
    ttl = std::min(rr.ttl, minimum);
  });
  return ttl;
}

} // namespace

sip::dns_answer parse_answer(std::string_view wire, std::string_view asked, sip::dns_type type) {
  sip::dns_answer out;
  if (wire.size() < KNOT_WIRE_HEADER_SIZE || wire.size() > 65'535) return out;
  std::string copy(wire); // libknot writes into the buffer
  const packet_ptr packet(knot_pkt_new(copy.data(), static_cast<std::uint16_t>(copy.size()), nullptr), knot_pkt_free);
  if (!packet || knot_pkt_parse(packet.get(), 0) != KNOT_EOK) return out;
  const std::uint8_t rcode = knot_wire_get_rcode(packet->wire);
  if (!knot_wire_get_qr(packet->wire) || (rcode != KNOT_RCODE_NOERROR && rcode != KNOT_RCODE_NXDOMAIN)) return out;

  const knot_pktsection_t* answer = knot_pkt_section(packet.get(), KNOT_ANSWER);
  std::string name = to_lower(asked);
  if (name.size() > 1 && name.ends_with('.')) name.pop_back();
  std::uint32_t ttl = 0xffffffff;
  name = follow_aliases(answer, std::move(name), ttl);
  bool found = false;
  each_record(answer, [&](const knot_rrset_t& rr, const rdata& r) {
    if (rr.type != wire_type(type) || text_of(rr.owner) != name) return;
    take(out, type, r);
    ttl = std::min(ttl, rr.ttl);
    found = true;
  });
  out.status = found ? sip::dns_status::ok : rcode == KNOT_RCODE_NXDOMAIN ? sip::dns_status::nxdomain : sip::dns_status::nodata;
  out.ttl = seconds(found ? ttl : negative_ttl(knot_pkt_section(packet.get(), KNOT_AUTHORITY)));
  return out;
}

} // namespace skald::dnsupdate
