#pragma once
// A node's bundle: the one file that makes a machine a member of a cluster (design §10). It holds the node's private
// key: treat a `bundle` as a secret; nothing here writes the key to a log or an error.
//
//   auto mine = certs::load_bundle("node7.pem", clock.wall());
//   if (!mine) { print(mine.error().what, mine.error().hint); return 1; }
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

struct bundle {
  std::string name;               // "node7"
  std::string domain;             // "example.com", lower case
  std::vector<std::string> roles; // permitted: the names in urn:skald:role:NAME
  std::vector<std::string> seeds; // HOST:PORT or HOST as given at issue
  bool founder = false;           // the first bundle that its CA issued
  node_id id;                     // OpenDHT's id of the key
  unix_ms not_before = 0, not_after = 0;
  std::string certificate;        // DER
  std::string ca;                 // DER
  std::string key;                // PKCS#8 DER; secret
};
using bundle_ptr = std::shared_ptr<const bundle>;

inline constexpr std::size_t bundle_bytes_max = 64 * 1024;

// Reads and takes apart, judging neither time nor trust: for `cert show`. Still refused: a file that cannot be read or
// that group or others can read, a missing block, a key that is not the certificate's.
outcome<bundle> read_bundle(const std::string& path);

// What start-up demands besides: signed by the bundled CA, both usages, valid at `now`. `path` is for the message.
outcome<void> check_bundle(const bundle& b, unix_ms now, std::string_view path);

// Both of the above.
outcome<bundle> load_bundle(const std::string& path, unix_ms now);

// What `cert show` prints; times are unix milliseconds, `date_text` of x509.hpp spells them.
struct description {
  std::string name, domain, serial, issuer, fingerprint; // fingerprint: SHA-256 of the certificate, hex
  node_id id;
  std::vector<std::string> roles, seeds, dns_names, uris;
  bool founder = false;
  unix_ms not_before = 0, not_after = 0;
  std::string ca_fingerprint;
  unix_ms ca_not_after = 0;
  std::string problem; // empty, or why a node would not start with it at `now`
};
description describe(const bundle& b, unix_ms now);

// The names a certificate speaks for; empty fields if it is not one of ours.
struct subject {
  std::string name, domain;
  std::vector<std::string> roles;
};
// From its SANs: URI:sip:DOMAIN, DNS:NAME.DOMAIN, URI:urn:skald:role:ROLE.
result<subject> subject_of(std::string_view certificate_der);

} // namespace skald::certs
