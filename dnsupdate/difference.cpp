#include "dnsupdate/difference.hpp"

#include "dnsupdate/zone.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

namespace skald::dnsupdate {
namespace {

constexpr std::string_view mark_prefix = "_skald.";
constexpr std::string_view guard_text = "skald publisher";

bool is_mark(const record& r) {
  if (r.type != rr_type::txt || !r.name.starts_with(mark_prefix)) return false;
  const auto strings = read_txt(r);
  return strings && !strings->empty() && strings->front() == mark_text;
}

std::set<std::string> marked_hosts(const std::vector<record>& records) {
  std::set<std::string> out;
  for (const record& r : records)
    if (is_mark(r)) out.insert(r.name.substr(mark_prefix.size()));
  return out;
}

std::vector<std::string> domain_srv_names(std::string_view domain) {
  auto names = srv_names(domain);
  names.push_back("_skald._udp." + std::string(domain));
  return names;
}

// Records by what they say, whatever their TTL.
using record_key = std::tuple<std::string_view, rr_type, std::string_view>;
record_key key_of(const record& r) { return {r.name, r.type, r.rdata}; }
std::map<record_key, const record*> index_of(const std::vector<record>& records) {
  std::map<record_key, const record*> out;
  for (const record& r : records) out.emplace(key_of(r), &r);
  return out;
}

bool is_one_of(const std::vector<std::string>& names, const std::string& name) { return std::ranges::find(names, name) != names.end(); }

struct comparison {
  std::string domain;
  std::vector<std::string> srv_at_domain, naptr_targets;
  std::set<std::string> ours; // hosts: marked at the server, or claimed now

  // The host that a record of a host's belongs to: "" for the domain's records.
  std::string host(const std::string& name) const {
    if (name == domain || is_one_of(srv_at_domain, name)) return {};
    std::string_view rest = name;
    while (rest.starts_with('_') && rest.find('.') != std::string_view::npos) rest.remove_prefix(rest.find('.') + 1);
    return std::string(rest);
  }

  bool is_ours(const record& r) const {
    const std::string of = host(r.name);
    if (!of.empty()) return ours.contains(of) && (r.type != rr_type::txt || is_mark(r));
    if (r.type == rr_type::naptr) {
      const auto n = read_naptr(r);
      return n && is_one_of(naptr_targets, n->replacement);
    }
    const auto s = read_srv(r);
    return s && ours.contains(s->target);
  }
};

// Hosts we want whose name holds addresses that are not ours.
std::set<std::string> held_by_others(const std::vector<record>& wanted, const std::vector<record>& seen, const std::set<std::string>& marked) {
  std::set<std::string> out;
  const auto hosts = marked_hosts(wanted);
  const auto wishes = index_of(wanted);
  for (const record& r : seen) {
    if ((r.type != rr_type::a && r.type != rr_type::aaaa) || !hosts.contains(r.name) || marked.contains(r.name)) continue;
    if (!wishes.contains(key_of(r))) out.insert(r.name);
  }
  return out;
}

} // namespace

difference compare(std::string_view domain, const std::vector<record>& wanted_all, const std::vector<record>& seen) {
  difference out;
  comparison c{std::string(domain), domain_srv_names(domain), srv_names(domain), marked_hosts(seen)};
  const auto withheld = held_by_others(wanted_all, seen, c.ours);
  out.withheld.assign(withheld.begin(), withheld.end());
  std::vector<record> wanted;
  for (const record& r : wanted_all) {
    const auto s = read_srv(r);
    if (withheld.contains(c.host(r.name)) || (s && withheld.contains(s->target))) continue;
    wanted.push_back(r);
  }
  c.ours.merge(marked_hosts(wanted));

  const auto wishes = index_of(wanted), there = index_of(seen);
  std::set<std::pair<std::string, rr_type>> shared; // sets in which others have records: their TTL stays
  for (const record& r : seen) {
    if (wishes.contains(key_of(r)) || read_guard(r)) continue;
    if (c.is_ours(r)) {
      out.removed.push_back(r);
    } else {
      out.foreign.push_back(r);
      shared.emplace(r.name, r.type);
    }
  }
  for (const record& w : wanted) {
    const auto at = there.find(key_of(w));
    if (at == there.end() || (at->second->ttl != w.ttl && !shared.contains({w.name, w.type}))) out.added.push_back(w);
  }
  return out;
}

std::vector<change> in_order(const difference& d) {
  std::vector<std::pair<std::pair<int, std::size_t>, change>> ranked; // rank, then as they came
  const auto rank = [](bool add, rr_type t) {
    switch (t) {
    case rr_type::txt: return add ? 0 : 6;
    case rr_type::a:
    case rr_type::aaaa: return add ? 1 : 5;
    case rr_type::srv: return add ? 3 : 2;
    case rr_type::naptr:
    case rr_type::ns:
    case rr_type::soa: return 4;
    }
    return 4;
  };
  for (const record& r : d.removed) ranked.emplace_back(std::pair{rank(false, r.type), ranked.size()}, change{false, r});
  for (const record& r : d.added) ranked.emplace_back(std::pair{rank(true, r.type), ranked.size()}, change{true, r});
  std::ranges::sort(ranked, {}, [](const auto& p) { return p.first; });
  std::vector<change> out;
  for (auto& [_, c] : ranked) out.push_back(std::move(c));
  return out;
}

record guard_record(std::string_view domain, const guard& g) {
  const std::string strings[] = {std::string(guard_text), "by=" + g.publisher, "stamp=" + g.stamp, "counter=" + std::to_string(g.counter)};
  return txt_record(mark_of(domain), record_ttl_s, strings);
}

std::optional<guard> read_guard(const record& r) {
  const auto strings = read_txt(r);
  if (!strings || strings->empty() || strings->front() != guard_text) return std::nullopt;
  guard out;
  for (const std::string& s : *strings) {
    if (s.starts_with("by=")) out.publisher = s.substr(3);
    if (s.starts_with("stamp=")) out.stamp = s.substr(6);
    if (s.starts_with("counter=")) std::from_chars(s.data() + 8, s.data() + s.size(), out.counter);
  }
  return out;
}

std::vector<asked_set> domain_sets(std::string_view domain) {
  std::vector<asked_set> out{{mark_of(domain), rr_type::txt}, {std::string(domain), rr_type::naptr}};
  for (std::string& name : domain_srv_names(domain)) out.push_back({std::move(name), rr_type::srv});
  return out;
}

std::vector<asked_set> host_sets(std::string_view host) {
  std::vector<asked_set> out{{mark_of(host), rr_type::txt}, {std::string(host), rr_type::a}, {std::string(host), rr_type::aaaa}};
  for (std::string& name : srv_names(host)) out.push_back({std::move(name), rr_type::srv});
  return out;
}

std::vector<std::string> hosts_in(std::string_view domain, const std::vector<record>& records) {
  std::set<std::string> out = marked_hosts(records);
  for (const record& r : records)
    if (const auto s = read_srv(r); s && s->target != domain && is_under(s->target, domain)) out.insert(s->target);
  return {out.begin(), out.end()};
}

} // namespace skald::dnsupdate
