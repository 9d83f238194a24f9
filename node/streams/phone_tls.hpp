#pragma once
// The certificate that phones see (sip.md §8): the node's own, which names node, domain and sip:DOMAIN, until the cluster
// has a public one (`skald tls set`), held as the setting tls.DOMAIN. Cluster thread.
#include "base/clock.hpp"
#include "certs/bundle.hpp"
#include "node/io/tls_credentials.hpp"

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace skald::node {

inline constexpr int tls_warning_days = 21;

class phone_tls {
public:
  phone_tls(certs::bundle_ptr own, tls_slot& phones, tls_slot& outbound);

  // The node's own certificate was renewed.
  void set_own(certs::bundle_ptr renewed);
  // New settings: rebuilds what is shown if a certificate changed. Connections stay as they are.
  void take_settings(const std::map<std::string, std::string>& stored);
  // `skald tls set`: the key fits, the chain parses, the domain is named, it has not expired.
  outcome<void> check(const std::string& cert_pem, const std::string& key_pem, const std::string& domain, unix_ms now) const;
  // One row of `skald tls status`: node, names, missing, issuer, days_left, warning.
  nlohmann::json row(const std::string& node_name, const std::vector<std::string>& node_hosts, unix_ms now) const;
  bool has_public() const { return !public_.empty(); }

private:
  bool rebuild(); // false: what was shown before stays

  certs::bundle_ptr own_;
  tls_slot& phones_;
  tls_slot& outbound_;
  std::map<std::string, std::string> public_; // by "tls.DOMAIN": JSON with cert and key
};

// What a PEM chain's first certificate says.
struct leaf_facts {
  std::vector<std::string> names; // DNS
  std::string issuer;
  unix_ms not_after = 0;
};
outcome<leaf_facts> read_leaf(const std::string& chain_pem);

} // namespace skald::node
