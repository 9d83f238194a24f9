#include "dnsupdate/setup_text.hpp"

#include "dnsupdate/zone.hpp"

#include <fmt/format.h>

namespace skald::dnsupdate {
namespace {

std::string delegation(const setup_input& in) {
  std::string out = fmt::format("; A. The cluster answers for {0} itself (role dns, UDP and TCP). Its parent zone delegates:\n", in.domain);
  std::string glue;
  bool odd_port = false;
  for (const dht::member& m : in.view.members) {
    if (!m.alive() || m.body.name.empty() || !m.body.roles.has(dht::role::dns)) continue;
    const std::string host = host_of(m.body.name, in.domain);
    out += line_text(ns_record(in.domain, naptr_ttl_s, host)) + "\n";
    for (const ip_address& ip : m.body.addresses) glue += line_text(address_record(host, naptr_ttl_s, ip)) + "\n";
    odd_port = odd_port || m.body.dns_port != 53;
  }
  if (glue.empty()) return out + "; (no node with the role dns is here)\n";
  if (odd_port) out += "; A delegation reaches port 53 only, and not all nodes answer there: see --dns-port.\n";
  return out + glue;
}

std::string other_zones(const setup_input& in) {
  if (in.other_domains.empty())
    return fmt::format("\n; B. Users of another domain, say of {0}'s parent: name it in the setting `domains`, and this page has the lines for its zone.\n", in.domain);
  std::string out = "\n; B. The zones of the other domains point at the cluster's names:\n";
  for (const std::string& d : in.other_domains) {
    std::uint16_t preference = 10;
    std::vector<std::pair<std::string, std::string>> services{{"SIP+D2T", "_sip._tcp."}, {"SIP+D2U", "_sip._udp."}};
    if (in.public_tls) services.insert(services.begin(), {"SIPS+D2T", "_sips._tcp."});
    for (const auto& [service, prefix] : services) {
      out += line_text(naptr_record_of(d, naptr_ttl_s, {10, preference, "s", service, prefix + in.domain})) + "\n";
      preference = static_cast<std::uint16_t>(preference + 10);
    }
    for (const dht::member* m : active_edges(in.view)) // for phones that ask for SRV and not for NAPTR
      for (const auto& [service, prefix] : services)
        out += line_text(srv_record_of(prefix + d, naptr_ttl_s, {edge_priority, static_cast<std::uint16_t>(std::min(m->body.capacity, 65'535u)),
                                                                 prefix == "_sips._tcp." ? m->body.sips_port : m->body.sip_port,
                                                                 host_of(m->body.name, in.domain)})) + "\n";
  }
  return out;
}

std::string servers(const setup_input& in) {
  const std::string key = in.key_name.empty() ? "skald" : in.key_name;
  const std::string algorithm = in.key_algorithm.empty() ? "hmac-sha256" : in.key_algorithm;
  std::string out = "\n; C. Or the cluster publishes to your server by signed updates";
  out += in.server.empty() ? ": `tsig-keygen -a hmac-sha256 skald > skald.key`, then\n;    `skald dns set --server IP:PORT --tsig-file skald.key`.\n"
                           : fmt::format(" ({} is set).\n", in.server);
  out += "; Any node may be the one that publishes, so allow the key, not an address.\n";
  out += fmt::format("\n; BIND, named.conf:\ninclude \"/etc/bind/{1}.key\";\nzone \"{0}\" {{ type primary; file \"/var/lib/bind/{0}.zone\"; update-policy {{ grant {1} zonesub ANY; }}; }};\n",
                     in.domain, key);
  out += fmt::format("\n; Knot, knot.conf:\nkey:\n  - id: {1}\n    algorithm: {2}\n    secret: (from the key file)\nacl:\n  - id: skald-updates\n    key: {1}\n    action: update\n"
                     "zone:\n  - domain: {0}\n    acl: skald-updates\n",
                     in.domain, key, algorithm);
  out += fmt::format("\n; PowerDNS, pdns.conf and pdnsutil:\ndnsupdate=yes\nallow-dnsupdate-from=0.0.0.0/0,::/0\n"
                     "pdnsutil import-tsig-key {1} {2} (secret from the key file)\npdnsutil set-meta {0} TSIG-ALLOW-DNSUPDATE {1}\n"
                     "pdnsutil set-meta {0} SOA-EDIT-DNSUPDATE INCREASE\n",
                     in.domain, key, algorithm);
  return out;
}

} // namespace

std::string setup_text(const setup_input& in) { return delegation(in) + other_zones(in) + servers(in); }

} // namespace skald::dnsupdate
