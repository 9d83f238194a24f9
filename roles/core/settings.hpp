#pragma once
// Cluster settings: durable state that every node must agree on (design §10), one record each in table::settings.
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

enum class inbound_policy : std::uint8_t { all, peers };

struct settings {
  std::string default_domain;             // the cluster's own
  std::vector<std::string> domains;       // all that it serves, lower case; default_domain first
  std::vector<std::string> digest_algorithms{"MD5"}; // in the order offered: MD5, SHA-256
  inbound_policy inbound = inbound_policy::all;
  bool hide_users = false;
  std::uint32_t min_copies = 2;           // 1..3
  std::string profile = "lan";            // lan | wan
  std::uint32_t ring_seconds = 180;
  std::string service_route;              // empty: none
  std::vector<ip_address> peer_addresses; // trusted peers by address; sorted
  std::vector<std::string> peer_names;    // trusted peers by TLS name, lower case; sorted
  std::vector<std::string> emergency{"112", "911"}; // user parts that are taken under any overload
  std::uint32_t grant_min_s = 60, grant_max_s = 3600;
  std::string dns_server, dns_tsig_name, dns_tsig_algorithm, dns_tsig_secret; // the secret is never shown

  bool serves(std::string_view domain) const; // case-insensitive
  bool is_peer(const ip_address& a) const;
  bool is_peer(std::string_view tls_name) const; // lower case
};

// Every key `skald set` knows, with its help line. Unknown keys: outcome's hint names the nearest known one.
struct setting_info {
  std::string_view key, help, default_text;
  bool secret = false;
};
const std::vector<setting_info>& known_settings();
outcome<void> check_setting(std::string_view key, std::string_view value);
// From what the store holds; what does not parse keeps its default. `domain`: the certificate's.
settings read_settings(std::string_view domain, const std::map<std::string, std::string>& stored);
std::string nearest_key(std::string_view wrong); // "" if nothing is near

} // namespace skald::roles
