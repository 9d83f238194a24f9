#pragma once
// What RFC 3263 needs of DNS: record values and the port behind which a resolver library stands. Values, no sockets.
#include "base/clock.hpp"
#include "base/endpoint.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace skald::sip {

enum class dns_type : std::uint8_t { a, aaaa, srv, naptr };

// Names in records: no final dot, any case.
struct srv_record {
  std::uint16_t priority = 0;
  std::uint16_t weight = 0;
  std::uint16_t port = 0;
  std::string target; // empty or ".": the service is decidedly not available (RFC 2782)
  bool operator==(const srv_record&) const = default;
};

struct naptr_record {
  std::uint16_t order = 0;
  std::uint16_t preference = 0;
  std::string flags;   // "s" is what RFC 3263 uses
  std::string service; // "SIP+D2T"
  std::string regexp;  // not used by RFC 3263
  std::string replacement;
  bool operator==(const naptr_record&) const = default;
};

enum class dns_status : std::uint8_t {
  ok,
  nxdomain, // the name does not exist
  nodata,   // the name exists, without records of that type
  failure,  // SERVFAIL, REFUSED, a time-out, an answer that does not parse: nothing is known
};

// One answer, aliases (CNAME) already followed. Only the list that belongs to the asked type is filled.
struct dns_answer {
  dns_status status = dns_status::failure;
  std::vector<ip_address> addresses; // A, AAAA
  std::vector<srv_record> srv;
  std::vector<naptr_record> naptr;
  // The least TTL on the way to the records; for nxdomain and nodata that of RFC 2308. 0: not to be kept.
  seconds ttl{0};
};

// Port: asks the DNS. Called on a worker's thread; `done` runs on that thread exactly once, later or before query()
// returns. The implementation has its own time-out (it then answers `failure`); there is no way to take a query back,
// so `done` must not rely on its owner being alive.
class dns_port {
public:
  using callback = std::move_only_function<void(dns_answer)>;
  virtual ~dns_port() = default;
  virtual void query(std::string name, dns_type type, callback done) = 0;
};

} // namespace skald::sip
