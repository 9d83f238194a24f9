#include "dnsupdate/zone.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <array>

namespace skald::dnsupdate {
namespace {

using dht::member;

struct service {
  std::string_view prefix, naptr;
  bool tls;
};
constexpr std::array services{service{"_sip._udp.", "SIP+D2U", false}, service{"_sip._tcp.", "SIP+D2T", false},
                              service{"_sips._tcp.", "SIPS+D2T", true}};

std::uint16_t port_of(const member& m, const service& s) { return s.tls ? m.body.sips_port : m.body.sip_port; }

std::uint16_t weight_of(const member& m) { return static_cast<std::uint16_t>(std::clamp<std::uint32_t>(m.body.capacity, 1, 65'535)); }

bool known(const member& m) { return m.body.version > 0 && !m.body.name.empty() && !m.body.addresses.empty(); }

struct builder {
  const zone_input& in;
  std::vector<const member*> edges;
  std::vector<record> out;

  std::string host(const member& m) const { return host_of(m.body.name, in.domain); }

  void mark(const std::string& of_host) {
    const std::string text(mark_text);
    out.push_back(txt_record(mark_of(of_host), record_ttl_s, {&text, 1}));
  }

  void addresses(const std::string& name, const member& of) {
    for (const ip_address& ip : of.body.addresses) out.push_back(address_record(name, record_ttl_s, ip));
  }

  void srv(const std::string& name, std::uint16_t priority, const member& m, const service& s) {
    out.push_back(srv_record_of(name, record_ttl_s, {priority, weight_of(m), port_of(m, s), host(m)}));
  }

  // The edges that stand in for a name: those that follow it in the order of ids, so that not all fall on the same two.
  std::vector<const member*> behind(std::string_view name, const member* itself) const {
    std::vector<const member*> found;
    std::size_t first = 0;
    for (const char c : name) first = first * 31 + static_cast<std::uint8_t>(c);
    for (std::size_t i = 0; i < edges.size() && found.size() < stand_ins; ++i) {
      const member* m = edges[(first + i) % edges.size()];
      if (m != itself) found.push_back(m);
    }
    return found;
  }

  void domain_naptr() { // RFC 3263 §4.1: the order is the domain's wish
    std::uint16_t preference = 10;
    std::vector<const service*> order{&services[1], &services[0]};
    if (in.public_tls) order.insert(order.begin(), &services[2]);
    for (const service* s : order) {
      const std::string replacement = std::string(s->prefix) + std::string(in.domain);
      out.push_back(naptr_record_of(std::string(in.domain), naptr_ttl_s, {10, preference, "s", std::string(s->naptr), replacement}));
      preference = static_cast<std::uint16_t>(preference + 10);
    }
  }

  void domain_srv() {
    for (const service& s : services)
      for (const member* m : edges) srv(std::string(s.prefix) + std::string(in.domain), edge_priority, *m, s);
    for (const member& m : in.view.members) // seeds for those that join
      if (m.state == dht::member_state::active && known(m))
        out.push_back(srv_record_of("_skald._udp." + std::string(in.domain), record_ttl_s, {edge_priority, weight_of(m), m.body.overlay_port, host(m)}));
  }

  void node(const member& m) {
    const std::string name = host(m);
    mark(name);
    addresses(name, m);
    if (!m.body.roles.has(dht::role::proxy)) return;
    for (const service& s : services) {
      srv(std::string(s.prefix) + name, 0, m, s);
      for (const member* other : behind(m.body.name, &m)) srv(std::string(s.prefix) + name, edge_priority, *other, s);
    }
  }

  void dead_node(const std::string& name) {
    const std::string at = host_of(name, in.domain);
    mark(at);
    for (const member* other : behind(name, nullptr)) {
      addresses(at, *other);
      for (const service& s : services) srv(std::string(s.prefix) + at, edge_priority, *other, s);
    }
  }

  void sort() {
    std::ranges::sort(out);
    out.erase(std::ranges::unique(out, [](const record& a, const record& b) { return a.same_data(b); }).begin(), out.end());
  }
};

void name_servers(builder& b, std::uint32_t serial) {
  const std::string domain(b.in.domain);
  std::vector<std::string> servers;
  for (const member& m : b.in.view.members)
    if (m.alive() && known(m) && m.body.roles.has(dht::role::dns)) servers.push_back(b.host(m));
  if (servers.empty()) servers.push_back(domain);
  for (const std::string& s : servers) b.out.push_back(ns_record(domain, naptr_ttl_s, s));
  b.out.push_back(soa_record(domain, record_ttl_s, {servers.front(), "hostmaster." + domain, serial, 60, 15, 3600, negative_ttl_s}));
}

// One address of each family is enough here: who asks so has no way to choose among several.
void domain_addresses(builder& b) {
  for (const ip_family family : {ip_family::v4, ip_family::v6})
    for (const member* m : b.edges) {
      const auto found = std::ranges::find(m->body.addresses, family, &ip_address::family);
      if (found == m->body.addresses.end()) continue;
      b.out.push_back(address_record(std::string(b.in.domain), record_ttl_s, *found));
      break;
    }
}

void fill(builder& b) {
  b.domain_naptr();
  b.domain_srv();
  for (const member& m : b.in.view.members)
    if (m.alive() && known(m)) b.node(m);
  for (const std::string& name : b.in.dead) b.dead_node(name);
}

} // namespace

std::vector<const member*> active_edges(const dht::view& v) {
  std::vector<const member*> out;
  for (const member& m : v.members)
    if (m.state == dht::member_state::active && known(m) && m.body.roles.has(dht::role::proxy)) out.push_back(&m);
  const auto overloaded = [](const member* m) { return m->body.overloaded; };
  if (2 * static_cast<std::size_t>(std::ranges::count_if(out, overloaded)) <= out.size()) std::erase_if(out, overloaded);
  return out;
}

std::vector<record> wanted_records(const zone_input& in) {
  builder b{in, active_edges(in.view), {}};
  if (b.edges.empty()) return {};
  fill(b);
  b.sort();
  return std::move(b.out);
}

std::vector<record> own_zone_records(const zone_input& in, std::uint32_t serial) {
  builder b{in, active_edges(in.view), {}};
  if (!b.edges.empty()) fill(b);
  name_servers(b, serial);
  domain_addresses(b);
  b.sort();
  return std::move(b.out);
}

std::uint32_t next_serial(std::uint32_t last, bool changed, std::uint64_t stamp_newest) {
  const auto wished = static_cast<std::uint32_t>(stamp_newest);
  if (last == 0) return std::max(wished, 1u);
  if (static_cast<std::int32_t>(wished - last) > 0) return wished;
  return changed ? last + 1 : last;
}

std::string host_of(std::string_view node, std::string_view domain) { return to_lower(node) + "." + std::string(domain); }
std::string mark_of(std::string_view host) { return "_skald." + std::string(host); }
std::vector<std::string> srv_names(std::string_view under) {
  std::vector<std::string> out;
  for (const service& s : services) out.push_back(std::string(s.prefix) + std::string(under));
  return out;
}

} // namespace skald::dnsupdate
