#pragma once
// The zone follows from the view (design §7, sip.md §2, §10): which records the cluster wants, as a pure function.
#include "dht/view/view.hpp"
#include "dnsupdate/record.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dnsupdate {

inline constexpr std::uint32_t record_ttl_s = 15;
inline constexpr std::uint32_t naptr_ttl_s = 3600;
inline constexpr std::uint32_t negative_ttl_s = 15;             // SOA minimum
inline constexpr std::uint16_t edge_priority = 10;              // in SRV; a node comes before the others under its own name
inline constexpr std::size_t stand_ins = 2;                     // other edges behind a node's name

struct zone_input {
  const dht::view& view;
  std::string_view domain;
  bool public_tls = false; // phones see a public certificate: SIPS stands first in NAPTR
  std::span<const std::string> dead; // names of nodes that died or left (dead_names): first labels, lower case
};

// Without SOA and NS, and without addresses at the domain itself: what a foreign server is to have. Sorted, no doubles.
// Empty if no edge is active: then there is nothing to say, and what was published stays.
std::vector<record> wanted_records(const zone_input& in);

// What the embedded server has besides: NS (nodes with the role dns), the domain's own address for phones that ask for
// neither NAPTR nor SRV. `serial` goes into the SOA. Not empty even without an active edge.
std::vector<record> own_zone_records(const zone_input& in, std::uint32_t serial);

// RFC 1982: the SOA serial of the next zone. It never goes back, and moves whenever the content does.
std::uint32_t next_serial(std::uint32_t last, bool changed, std::uint64_t stamp_newest);

// The edges that SRV names now: active, of the role proxy, with a known body and an address; by id. Overloaded ones are
// left out as long as they are no more than half: what they are spared falls on the others.
std::vector<const dht::member*> active_edges(const dht::view& v);

std::string host_of(std::string_view node, std::string_view domain);      // "a.example.com"
std::string mark_of(std::string_view host);                               // "_skald.a.example.com"
inline constexpr std::string_view mark_text = "skald node";               // first string of a mark
std::vector<std::string> srv_names(std::string_view under);               // _sip._udp, _sip._tcp, _sips._tcp

} // namespace skald::dnsupdate
