#pragma once
// What stands between the records a server has and those the cluster wants, and which of them we may touch (sip.md §10).
#include "dnsupdate/record.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dnsupdate {

struct difference {
  std::vector<record> added, removed; // in the order in which they may be sent in parts: see compare()
  std::vector<record> foreign;        // under a name and type of ours, not ours: they stay
  std::vector<std::string> withheld;  // hosts whose name somebody else holds: nothing of theirs is published
  bool empty() const { return added.empty() && removed.empty(); }
};

// Ours are: what stands at a host with a mark; at the domain, SRV records whose target is such a host and NAPTR records
// whose replacement is one of the domain's SRV names. A host without mark is claimed only if nothing contradicts.
difference compare(std::string_view domain, const std::vector<record>& wanted, const std::vector<record>& seen);

// Marks and addresses come before the SRV records that point at them, and go after them.
struct change {
  bool add;
  record what;
};
std::vector<change> in_order(const difference& d);

// The guard: TXT _skald.DOMAIN.
struct guard {
  std::string publisher, stamp;
  std::uint64_t counter = 0;
  bool operator==(const guard&) const = default;
};
record guard_record(std::string_view domain, const guard& g);
std::optional<guard> read_guard(const record& r); // nullopt: another TXT record

// Every name and type that has to be read before comparing: for the domain, then for one host.
struct asked_set {
  std::string name;
  rr_type type;
};
std::vector<asked_set> domain_sets(std::string_view domain);
std::vector<asked_set> host_sets(std::string_view host);
// The hosts that the records speak of: marked ones and SRV targets under the domain.
std::vector<std::string> hosts_in(std::string_view domain, const std::vector<record>& records);

} // namespace skald::dnsupdate
