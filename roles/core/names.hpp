#pragma once
// Which hosts are ours: the domains, the nodes' names, the nodes' addresses (sip.md §1). An index over one set of
// cluster facts; built anew when they are swapped, one lookup per host. One thread.
#include "base/endpoint.hpp"
#include "dht/view/view.hpp"
#include "roles/core/ports.hpp"
#include "sip/message/uri.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace skald::roles {

enum class host_kind : std::uint8_t { foreign, domain, node, address };

class name_index {
public:
  explicit name_index(facts_ptr facts);

  const facts_ptr& facts() const { return facts_; }
  // `port` 0: not given. An address of ours under a port that no node of that address listens on is not us: phones
  // may sit on the same address (a test bed, a router).
  host_kind kind_of(std::string_view host, std::uint16_t port) const;
  bool ours(const sip::uri& u) const { return kind_of(u.host, u.port) != host_kind::foreign; }
  // The canonical AoR of a URI in a domain of ours; node names and addresses stand for the default domain. nullopt: the
  // URI is foreign, or of a scheme that has no AoR here.
  std::optional<std::string> aor_of(const sip::uri& u) const;
  // "node7.example.com" of a member; empty if its body is not known yet.
  std::string host_of(const node_id& node) const;
  std::string host_of_self() const { return host_of(facts_->view->self); }
  // The member of that name ("node7.example.com"), dead ones too.
  const dht::member* member_of_host(std::string_view host) const;
  // A member by the first 8 bytes of its id, as tokens carry it.
  const dht::member* member_of_head(std::uint64_t head) const;

private:
  struct address_entry {
    std::uint16_t sip_port = 0, sips_port = 0;
  };
  facts_ptr facts_;
  std::unordered_map<std::string, const dht::member*> nodes_; // lower-case full names
  std::unordered_multimap<ip_address, address_entry> addresses_;
  std::unordered_map<std::uint64_t, const dht::member*> heads_;
};

} // namespace skald::roles
