#pragma once
// The cluster's CA: a directory with ca.key (0600), ca.pem and cluster.json. These functions stand behind
// `skald cluster init` and `skald cert issue`; they generate keys (the system's generator) and write files. They
// overwrite nothing: what exists is an error that names it.
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

// Role names of design §2: what a certificate permits if the operator names none.
inline constexpr std::array<std::string_view, 12> role_names = {
    "proxy", "registrar", "relay", "presence", "xcap", "dns", "voicemail", "rating", "provisioning", "webrtc", "xmpp", "peering"};

struct ca_made {
  std::string domain;
  std::string ca_path, key_path; // to show
  unix_ms not_after = 0;
};
// Makes `directory` if it is not there.
outcome<ca_made> init_cluster(const std::string& directory, std::string_view domain, unix_ms now);

struct issue_request {
  std::string name;                 // one DNS label
  std::vector<std::string> seeds{}; // HOST:PORT
  std::vector<std::string> roles{}; // empty: all
};
struct issued {
  std::string path; // DIRECTORY/NAME.pem
  std::string domain;
  node_id id;
  bool founder = false;
  bool issued_before = false; // a bundle of that name was issued once, and is gone from here: worth a warning
  unix_ms not_after = 0;
};
outcome<issued> issue(const std::string& directory, const issue_request& request, unix_ms now);

// A new certificate for the key in an existing bundle, which stays a secret of that file: name, node id, roles, seeds and
// founder stay, the time begins anew. `path` (by default DIRECTORY/NAME.pem) is replaced in one step.
struct renewal {
  std::string name;
  std::string path{}; // empty: DIRECTORY/NAME.pem
};
outcome<issued> renew(const std::string& directory, const renewal& request, unix_ms now);

// Revokes all certificates that were issued under a name: DIRECTORY/ca.crl names them, and all revoked before.
struct revoked {
  std::string path;  // DIRECTORY/ca.crl
  std::string crl;   // DER
  std::size_t certificates = 0; // of this name
  bool before = false;          // they had been revoked already: the list is the same, signed anew
};
outcome<revoked> revoke(const std::string& directory, const std::string& name, unix_ms now);

inline constexpr std::chrono::hours ca_lifetime{24 * 3652};  // ten years
inline constexpr std::chrono::hours node_lifetime{24 * 365};
// Certificates begin a little in the past: the machine that they go to may have a slower clock.
inline constexpr std::chrono::minutes backdated{10};

} // namespace skald::certs
