#pragma once
// A revocation list of the cluster's CA (RFC 5280 §5), as nodes take and keep it. Pure; any thread.
#include "base/clock.hpp"
#include "base/errors.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

inline constexpr std::size_t crl_bytes_max = 1 << 20;

struct revocation_list {
  std::uint64_t number = 0;         // of two lists the higher is newer; the time of the latest revocation in ms
  std::vector<std::string> serials; // hex, as certs::serial_of writes them
};
// Errors: malformed, too_large, not_authentic (this CA did not sign it).
result<revocation_list> read_revocations(std::string_view crl_der, std::string_view ca_der);

} // namespace skald::certs
