#include "dnsupdate/wire.hpp"

#include "base/encoding.hpp"
#include "dnsupdate/knot.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>

namespace skald::dnsupdate {
namespace {

using packet_ptr = std::unique_ptr<knot_pkt_t, decltype(&knot_pkt_free)>;
constexpr std::uint8_t opcode_update = 5;

std::uint8_t* bytes(std::string& s) { return reinterpret_cast<std::uint8_t*>(s.data()); }

struct knot_key {
  knot_tsig_key_t key{};
  bool ok = false;
  explicit knot_key(const tsig_key& k) {
    const std::string algorithm = to_lower(k.algorithm.empty() ? "hmac-sha256" : k.algorithm);
    ok = !k.name.empty() && knot_tsig_key_init(&key, algorithm.c_str(), k.name.c_str(), k.secret.c_str()) == KNOT_EOK;
  }
  ~knot_key() { knot_tsig_key_deinit(&key); }
  knot_key(const knot_key&) = delete;
  knot_key& operator=(const knot_key&) = delete;
};

void put_header(std::string& out, std::uint16_t id, std::uint8_t opcode, bool recursion) {
  put_be(out, id);
  put_be(out, static_cast<std::uint16_t>((opcode << 11) | (recursion ? 0x0100 : 0)));
  for (int i = 0; i < 4; ++i) put_be(out, std::uint16_t{0});
}

void count(std::string& wire, std::size_t field, std::size_t n) {
  wire[4 + 2 * field] = static_cast<char>(n >> 8);
  wire[5 + 2 * field] = static_cast<char>(n);
}

void put_question(std::string& out, std::string_view name, std::uint16_t type) {
  out += to_dname(name);
  put_be(out, type);
  put_be(out, std::uint16_t{KNOT_CLASS_IN});
}

void put_record(std::string& out, const record& r, std::uint16_t rr_class, std::uint32_t ttl, bool with_data) {
  out += to_dname(r.name);
  put_be(out, static_cast<std::uint16_t>(r.type));
  put_be(out, rr_class);
  put_be(out, ttl);
  put_be(out, static_cast<std::uint16_t>(with_data ? r.rdata.size() : 0));
  if (with_data) out += r.rdata;
}

bool known_type(std::uint16_t t) {
  for (const rr_type k : {rr_type::a, rr_type::ns, rr_type::soa, rr_type::txt, rr_type::aaaa, rr_type::srv, rr_type::naptr})
    if (t == static_cast<std::uint16_t>(k)) return true;
  return false;
}

std::string name_of(const knot_dname_t* d) {
  return d == nullptr ? std::string{} : from_dname({reinterpret_cast<const char*>(d), knot_dname_size(d)});
}

// f(rr, rdata as wire); an empty set (as in updates) gives one call with empty rdata.
template <class F>
void each(const knot_pktsection_t* section, F&& f) {
  std::size_t seen = 0;
  for (std::uint16_t i = 0; i < section->count; ++i) {
    const knot_rrset_t* rr = knot_pkt_rr(section, i);
    if (!known_type(rr->type)) continue;
    if (rr->rrs.count == 0 && seen++ < response_records_max) f(*rr, std::string{});
    const knot_rdata_t* r = rr->rrs.rdata;
    for (std::uint16_t k = 0; k < rr->rrs.count && seen < response_records_max; ++k, ++seen) {
      f(*rr, std::string(reinterpret_cast<const char*>(r->data), r->len));
      r = knot_rdataset_next(const_cast<knot_rdata_t*>(r));
    }
  }
}

std::vector<record> records_of(const knot_pkt_t* p, knot_section_t s) {
  std::vector<record> out;
  each(knot_pkt_section(p, s), [&](const knot_rrset_t& rr, std::string data) {
    if (rr.rclass == KNOT_CLASS_IN) out.push_back({name_of(rr.owner), static_cast<rr_type>(rr.type), rr.ttl, std::move(data)});
  });
  return out;
}

// Names in canonical form, whatever case they came in; libknot has lowered those of rdata already (RFC 4034 §6.2).
packet_ptr parse(std::string& wire) {
  packet_ptr p(nullptr, knot_pkt_free);
  if (wire.size() < KNOT_WIRE_HEADER_SIZE || wire.size() > 65'535) return p;
  p.reset(knot_pkt_new(wire.data(), static_cast<std::uint16_t>(wire.size()), nullptr));
  if (p && knot_pkt_parse(p.get(), 0) != KNOT_EOK) p.reset();
  return p;
}

} // namespace

bool usable(const tsig_key& key) { return knot_key(key).ok; }

request make_query(std::uint16_t id, std::string_view name, rr_type type) {
  request out;
  out.id = id;
  put_header(out.wire, id, 0, false);
  put_question(out.wire, name, static_cast<std::uint16_t>(type));
  count(out.wire, 0, 1);
  out.wire.push_back('\0'); // OPT, RFC 6891 §6.1.2
  put_be(out.wire, std::uint16_t{KNOT_RRTYPE_OPT});
  put_be(out.wire, static_cast<std::uint16_t>(udp_message_max));
  put_be(out.wire, std::uint32_t{0});
  put_be(out.wire, std::uint16_t{0});
  count(out.wire, 3, 1);
  return out;
}

result<request> make_update(std::uint16_t id, const update& u, const tsig_key& key) {
  request out;
  out.id = id;
  put_header(out.wire, id, opcode_update, false);
  put_question(out.wire, u.zone, KNOT_RRTYPE_SOA); // RFC 2136 §2.3
  count(out.wire, 0, 1);
  for (const record& r : u.guard_was) put_record(out.wire, r, KNOT_CLASS_IN, 0, true);
  if (u.guard_was.empty()) put_record(out.wire, {u.guard_name, rr_type::txt, 0, {}}, KNOT_CLASS_NONE, 0, false);
  count(out.wire, 1, std::max<std::size_t>(1, u.guard_was.size()));
  for (const record& r : u.removed) put_record(out.wire, r, KNOT_CLASS_NONE, 0, true); // §2.5.4
  for (const record& r : u.added) put_record(out.wire, r, KNOT_CLASS_IN, r.ttl, true); // §2.5.1
  count(out.wire, 2, u.removed.size() + u.added.size());
  if (key.empty()) return out;
  const knot_key k(key);
  if (!k.ok) return std::unexpected(errc::malformed);
  std::size_t size = out.wire.size();
  out.wire.resize(size + knot_tsig_wire_maxsize(&k.key));
  std::uint8_t mac[64];
  std::size_t mac_size = sizeof mac;
  if (knot_tsig_sign(bytes(out.wire), &size, out.wire.size(), nullptr, 0, mac, &mac_size, &k.key, 0, 0) != KNOT_EOK)
    return std::unexpected(errc::malformed);
  out.wire.resize(size);
  out.mac.assign(reinterpret_cast<const char*>(mac), mac_size);
  return out;
}

std::string rcode_text(std::uint16_t code) {
  switch (static_cast<rcode>(code)) {
  case rcode::ok: return "NOERROR";
  case rcode::format_error: return "FORMERR";
  case rcode::server_failure: return "SERVFAIL";
  case rcode::no_such_name: return "NXDOMAIN";
  case rcode::not_implemented: return "NOTIMP";
  case rcode::refused: return "REFUSED";
  case rcode::name_exists: return "YXDOMAIN";
  case rcode::set_exists: return "YXRRSET";
  case rcode::no_such_set: return "NXRRSET";
  case rcode::not_authoritative: return "NOTAUTH";
  case rcode::not_in_zone: return "NOTZONE";
  case rcode::bad_signature: return "BADSIG";
  case rcode::bad_key: return "BADKEY";
  case rcode::bad_time: return "BADTIME";
  }
  return fmt::format("code {}", code);
}

result<response> read_response(std::string_view wire, const request& to, const tsig_key& key) {
  std::string copy(wire); // libknot writes into the buffer
  const packet_ptr p = parse(copy);
  if (!p || !knot_wire_get_qr(p->wire) || knot_wire_get_id(p->wire) != to.id) return std::unexpected(errc::malformed);
  if (knot_wire_get_opcode(p->wire) != ((static_cast<std::uint8_t>(to.wire[2]) >> 3) & 0xf)) return std::unexpected(errc::malformed);
  // The question has to be ours too; an error may come without one (RFC 2136 §3.8).
  if (p->qname_size > 0) {
    const auto asked = read_query(to.wire);
    if (asked && (name_of(knot_pkt_qname(p.get())) != asked->name || knot_pkt_qtype(p.get()) != asked->type))
      return std::unexpected(errc::malformed);
  }
  response out;
  out.code = static_cast<std::uint16_t>(knot_wire_get_rcode(p->wire));
  if (p->opt_rr != nullptr) out.code = static_cast<std::uint16_t>(out.code | (knot_edns_get_ext_rcode(p->opt_rr) << 4));
  out.truncated = knot_wire_get_tc(p->wire);
  out.authoritative = knot_wire_get_aa(p->wire);
  out.answer = records_of(p.get(), KNOT_ANSWER);
  out.authority = records_of(p.get(), KNOT_AUTHORITY);
  if (p->tsig_rr != nullptr) {
    out.tsig_error = knot_tsig_rdata_error(p->tsig_rr);
    const knot_key k(key);
    out.verified = k.ok && !to.mac.empty() &&
                   knot_tsig_client_check(p->tsig_rr, p->wire, p->size, reinterpret_cast<const std::uint8_t*>(to.mac.data()), to.mac.size(),
                                          &k.key, 0) == KNOT_EOK;
  }
  return out;
}

result<query_seen> read_query(std::string_view wire) {
  // By hand and only the question: prerequisites of an update are no matter here.
  if (wire.size() < 12 + 5) return std::unexpected(errc::malformed);
  const std::string name = from_dname(wire, 12);
  const std::size_t size = to_dname(name).size();
  if (name.empty() || wire.size() < 12 + size + 4) return std::unexpected(errc::malformed);
  return query_seen{get_be<std::uint16_t>(wire), name, get_be<std::uint16_t>(wire.substr(12 + size))};
}

result<update_seen> read_update(std::string_view wire) {
  std::string copy(wire);
  const packet_ptr p = parse(copy);
  if (!p || knot_wire_get_opcode(p->wire) != opcode_update) return std::unexpected(errc::malformed);
  update_seen out;
  out.id = knot_wire_get_id(p->wire);
  out.zone = name_of(knot_pkt_qname(p.get()));
  const auto take = [](std::vector<update_seen::item>& into) {
    return [&into](const knot_rrset_t& rr, std::string data) {
      const bool whole = data.empty();
      into.push_back({{name_of(rr.owner), static_cast<rr_type>(rr.type), rr.ttl, std::move(data)}, rr.rclass, whole});
    };
  };
  each(knot_pkt_section(p.get(), KNOT_ANSWER), take(out.prerequisites));
  each(knot_pkt_section(p.get(), KNOT_AUTHORITY), take(out.changes));
  return out;
}

} // namespace skald::dnsupdate
