#pragma once
// What `skald run` is told: flags over an optional JSON file over defaults. Node-local only; what nodes must agree on is
// a cluster setting (`skald set`).
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace skald::node {

struct node_config {
  std::string bundle;                     // path of NAME.pem
  std::string state_dir;                  // empty: by name (state_dir.hpp)
  std::vector<std::string> addresses;     // empty: the source addresses of the default routes
  std::string advertise;                  // 1:1 NAT: what Via, A records and literal hosts show
  std::uint16_t sip_port = 5060, sips_port = 5061, overlay_port = 4260, link_port = 4260, dns_port = 53;
  std::uint32_t workers = 0;              // 0: one for each core, at most 16
  std::string zone;
  std::uint32_t capacity = 100;
  std::vector<std::string> roles;         // empty: all that the certificate permits and that are built
  std::vector<std::string> seeds;         // HOST:PORT, over those in the bundle
  std::string peer_ca;                    // PEM file: CAs of peers that are named by TLS name; empty: the machine's
  bool found = false;
  std::string control;                    // path of the control socket; empty: in the state directory
  std::string metrics;                    // IP:PORT for Prometheus over TCP; empty: control socket only
  std::uint64_t memory_mb = 0;            // 0: three quarters of what the machine or its control group gives
  std::string log_level = "info";
};

// Which options were given as flags: these win over the file.
// Reads a JSON object (comments allowed). An unknown key is an error that names the nearest known one; so is a value of
// the wrong type or out of range. Keys are the flags' names with underscores.
outcome<void> merge_config_file(node_config& into, const std::string& path, const std::vector<std::string>& given_flags);
outcome<void> check_config(const node_config& c);

} // namespace skald::node
