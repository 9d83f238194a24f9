#include "dnsupdate/name_server.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "base/source.hpp"
#include "dnsupdate/knot.hpp"

#include <algorithm>
#include <memory>

namespace skald::dnsupdate {
namespace {

metrics::counter answered("skald_dns_server_answers_total", "Answers of the embedded DNS server.");
metrics::counter limited("skald_dns_server_limited_total", "Queries over the limit of their source.");
metrics::counter unreadable("skald_dns_server_unreadable_total", "Datagrams that are no DNS query.");

using packet_ptr = std::unique_ptr<knot_pkt_t, decltype(&knot_pkt_free)>;

constexpr std::uint16_t type_ixfr = 251, type_axfr = 252, type_any = 255;

std::string name_of(const knot_dname_t* d) { return d == nullptr ? std::string{} : from_dname({reinterpret_cast<const char*>(d), knot_dname_size(d)}); }

} // namespace

bool answer_limit::take(const ip_address& source, mono_time now) {
  const ip_address key = source_of(source);
  auto found = buckets_.find(key);
  if (found == buckets_.end()) {
    if (buckets_.size() >= sources_max) {
      const mono_time old = now - seconds(2); // full again by then: forgetting them changes nothing
      std::erase_if(buckets_, [old](const auto& b) { return b.second.at < old; });
      if (buckets_.size() >= sources_max) return false;
    }
    found = buckets_.emplace(key, bucket{answers_burst, now}).first;
  }
  bucket& b = found->second;
  b.tokens = std::min(answers_burst, b.tokens + answers_per_second_max * std::chrono::duration<double>(now - b.at).count());
  b.at = now;
  if (b.tokens < 1) return false;
  b.tokens -= 1;
  return true;
}

struct name_server::reply {
  reply(const knot_pkt_t* q, std::size_t most)
      : query(q), packet(knot_pkt_new(nullptr, static_cast<std::uint16_t>(most), nullptr), knot_pkt_free) {}

  bool begin(bool edns) {
    if (!packet) return false;
    // Without a question that can be read, the header alone is answered.
    if (knot_pkt_init_response(packet.get(), query) != KNOT_EOK) return false;
    knot_wire_clear_ad(packet->wire);
    knot_wire_clear_cd(packet->wire);
    if (edns && knot_edns_init(&opt, edns_answer_max, 0, 0, nullptr) == KNOT_EOK) {
      with_opt = true;
      knot_pkt_reserve(packet.get(), static_cast<std::uint16_t>(knot_edns_wire_size(&opt)));
    }
    return true;
  }

  void code(std::uint16_t c) {
    knot_wire_set_rcode(packet->wire, static_cast<std::uint8_t>(c & 0xf));
    if (with_opt) knot_edns_set_ext_rcode(&opt, static_cast<std::uint8_t>(c >> 4));
  }

  std::string finish() {
    if (with_opt) {
      knot_pkt_reclaim(packet.get(), static_cast<std::uint16_t>(knot_edns_wire_size(&opt)));
      if (packet->current != KNOT_ADDITIONAL) knot_pkt_begin(packet.get(), KNOT_ADDITIONAL);
      knot_pkt_put(packet.get(), KNOT_COMPR_HINT_NONE, &opt, 0);
    }
    return {reinterpret_cast<const char*>(packet->wire), packet->size};
  }

  ~reply() {
    if (with_opt) knot_rrset_clear(&opt, nullptr);
    for (knot_rrset_t* s : sets) knot_rrset_free(s, nullptr);
  }

  const knot_pkt_t* query;
  packet_ptr packet;
  knot_rrset_t opt{};
  bool with_opt = false;
  std::vector<knot_rrset_t*> sets; // the packet refers to them
  std::set<std::string> additional;
};

void name_server::set_zone(std::string_view domain, std::vector<record> records, bool serving) {
  domain_ = to_lower(domain);
  serving_ = serving;
  names_.clear();
  between_.clear();
  for (record& r : records) {
    // RFC 8020, RFC 4592 §2.2.2: a name with something below it exists too, without records.
    for (std::string_view above = r.name; is_under(above, domain_) && between_.insert(std::string(above)).second;)
      above.remove_prefix(std::min(above.size(), above.find('.') + 1));
    names_[r.name][r.type].push_back(std::move(r));
  }
}

void name_server::put_set(reply& r, const std::string& name, rr_type type, int section) {
  const auto at = names_.find(name);
  if (at == names_.end()) return;
  const auto set = at->second.find(type);
  if (set == at->second.end() || set->second.empty()) return;
  const std::string owner = to_dname(name);
  knot_rrset_t* rr = knot_rrset_new(reinterpret_cast<const knot_dname_t*>(owner.data()), static_cast<std::uint16_t>(type), KNOT_CLASS_IN,
                                    set->second.front().ttl, nullptr);
  if (rr == nullptr) return;
  r.sets.push_back(rr);
  for (const record& one : set->second)
    if (knot_rrset_add_rdata(rr, reinterpret_cast<const std::uint8_t*>(one.rdata.data()), static_cast<std::uint16_t>(one.rdata.size()), nullptr) != KNOT_EOK)
      return;
  // The order is rotated: who takes the first record only is spread too.
  const auto turn = static_cast<std::uint16_t>(random_.below(set->second.size()));
  // What is only helpful is left out when there is no room; an answer without room sets TC (RFC 2181 §9).
  knot_pkt_put_rotate(r.packet.get(), KNOT_COMPR_HINT_NONE, rr, turn, section == KNOT_ADDITIONAL ? KNOT_PF_NOTRUNC : 0);
}

// RFC 2782: addresses of SRV targets; RFC 1035 §3.3.11: of name servers.
void name_server::put_additional(reply& r, const std::string& name, rr_type type) {
  const auto at = names_.find(name);
  if (at == names_.end()) return;
  const auto set = at->second.find(type);
  if (set == at->second.end()) return;
  for (const record& one : set->second) {
    const auto srv = read_srv(one);
    const std::string target = srv ? srv->target : one.type == rr_type::ns ? from_dname(one.rdata) : std::string{};
    if (target.empty() || !r.additional.insert(target).second) continue;
    put_set(r, target, rr_type::a, KNOT_ADDITIONAL);
    put_set(r, target, rr_type::aaaa, KNOT_ADDITIONAL);
  }
}

void name_server::look_up(reply& r) {
  const std::string name = name_of(knot_pkt_qname(r.query));
  const std::uint16_t asked = knot_pkt_qtype(r.query);
  knot_wire_set_aa(r.packet->wire);
  const auto at = names_.find(name);
  std::vector<rr_type> types;
  if (at != names_.end()) {
    if (asked == type_any) types.push_back(at->second.begin()->first); // RFC 8482 §4.1: one set is enough
    else if (at->second.contains(static_cast<rr_type>(asked))) types.push_back(static_cast<rr_type>(asked));
  }
  knot_pkt_begin(r.packet.get(), KNOT_ANSWER);
  for (const rr_type t : types) put_set(r, name, t, KNOT_ANSWER);
  knot_pkt_begin(r.packet.get(), KNOT_AUTHORITY);
  if (types.empty()) {
    if (!between_.contains(name)) r.code(KNOT_RCODE_NXDOMAIN);
    return put_set(r, domain_, rr_type::soa, KNOT_AUTHORITY); // RFC 2308 §3
  }
  knot_pkt_begin(r.packet.get(), KNOT_ADDITIONAL);
  for (const rr_type t : types) put_additional(r, name, t);
}

std::string name_server::answer(std::string_view bytes, const ip_address& source, bool tcp, mono_time now) {
  if (bytes.size() < KNOT_WIRE_HEADER_SIZE || bytes.size() > tcp_answer_max) {
    unreadable.add();
    return {};
  }
  std::string copy(bytes); // libknot writes into the buffer
  const packet_ptr query(knot_pkt_new(copy.data(), static_cast<std::uint16_t>(copy.size()), nullptr), knot_pkt_free);
  if (!query || knot_wire_get_qr(query->wire)) {
    unreadable.add();
    return {};
  }
  const bool parsed = knot_pkt_parse(query.get(), 0) == KNOT_EOK;
  const bool edns = parsed && knot_pkt_has_edns(query.get());
  std::size_t most = plain_answer_max;
  if (tcp) most = tcp_answer_max;
  else if (edns) most = std::clamp<std::size_t>(knot_edns_get_payload(query->opt_rr), plain_answer_max, edns_answer_max); // RFC 6891 §6.2.5
  const bool over = !tcp && !limit_.take(source, now);
  if (over) {
    limited.add();
    if (++slips_ % 2 != 0) return {}; // every second gets a small answer that sends real clients to TCP
  }
  reply r(query.get(), most);
  if (!r.begin(edns)) {
    unreadable.add();
    return {};
  }
  const std::string name = name_of(knot_pkt_qname(query.get()));
  const std::uint16_t type = knot_pkt_qtype(query.get());
  if (!parsed || (knot_wire_get_opcode(query->wire) == 0 && name.empty())) r.code(KNOT_RCODE_FORMERR);
  else if (knot_wire_get_opcode(query->wire) != 0) r.code(KNOT_RCODE_NOTIMPL);
  else if (edns && knot_edns_get_version(query->opt_rr) != 0) r.code(KNOT_RCODE_BADVERS);
  else if (knot_pkt_qclass(query.get()) != KNOT_CLASS_IN || domain_.empty() || !is_under(name, domain_)) r.code(KNOT_RCODE_REFUSED);
  else if (type == type_axfr || type == type_ixfr) r.code(KNOT_RCODE_REFUSED);
  else if (over) knot_wire_set_tc(r.packet->wire);
  else if (!serving_) r.code(KNOT_RCODE_SERVFAIL);
  else look_up(r);
  answered.add();
  return r.finish();
}

} // namespace skald::dnsupdate
