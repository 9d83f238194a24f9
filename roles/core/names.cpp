#include "roles/core/names.hpp"

#include "base/encoding.hpp"

namespace skald::roles {

namespace {
constexpr std::uint16_t sip_port_default = 5060; // RFC 3261 §19.1.2
}

name_index::name_index(facts_ptr facts) : facts_(std::move(facts)) {
  if (!facts_->view) return;
  const std::string& domain = facts_->config->default_domain;
  for (const dht::member& m : facts_->view->members) {
    heads_[m.id.head()] = &m;
    if (m.body.version == 0 && m.body.name.empty()) continue;
    const std::string name = to_lower(m.body.name + "." + domain);
    const auto [at, fresh] = nodes_.emplace(name, &m);
    if (!fresh && m.alive()) at->second = &m;
    for (const ip_address& a : m.body.addresses)
      addresses_.emplace(a, address_entry{m.body.sip_port, m.body.sips_port});
  }
}

host_kind name_index::kind_of(std::string_view host, std::uint16_t port) const {
  if (facts_->config->serves(host)) return host_kind::domain;
  if (nodes_.contains(to_lower(host))) return host_kind::node;
  const auto ip = ip_address::parse(host);
  if (!ip) return host_kind::foreign;
  const auto [from, to] = addresses_.equal_range(*ip);
  for (auto it = from; it != to; ++it) {
    const std::uint16_t asked = port == 0 ? sip_port_default : port;
    if (asked == it->second.sip_port || asked == it->second.sips_port) return host_kind::address;
  }
  return host_kind::foreign;
}

std::optional<std::string> name_index::aor_of(const sip::uri& u) const {
  const std::string& domain = facts_->config->default_domain;
  if (u.scheme == sip::uri_scheme::other) return std::nullopt;
  sip::uri here = u;
  if (u.scheme != sip::uri_scheme::tel) {
    const host_kind kind = kind_of(u.host, u.port);
    if (kind == host_kind::foreign) return std::nullopt;
    if (kind != host_kind::domain) here.host = domain;
  }
  auto aor = sip::canonical_aor(here, domain);
  if (!aor) return std::nullopt;
  return std::move(*aor);
}

std::string name_index::host_of(const node_id& node) const {
  const dht::member* m = facts_->view ? facts_->view->find(node) : nullptr;
  if (m == nullptr || m->body.name.empty()) return {};
  return to_lower(m->body.name + "." + facts_->config->default_domain);
}

const dht::member* name_index::member_of_host(std::string_view host) const {
  const auto it = nodes_.find(to_lower(host));
  return it == nodes_.end() ? nullptr : it->second;
}

const dht::member* name_index::member_of_head(std::uint64_t head) const {
  const auto it = heads_.find(head);
  return it == heads_.end() ? nullptr : it->second;
}

} // namespace skald::roles
