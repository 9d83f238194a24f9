#pragma once
// Asking the DNS: c-ares on one loop, for the resolution of RFC 3263 and for seeds. The loop's thread only.
#include "base/errors.hpp"
#include "node/io/loop.hpp"
#include "sip/resolve/dns.hpp"

#include <memory>
#include <string>

namespace skald::node {

inline constexpr int dns_timeout_ms = 1000; // for the first try at each server; doubles
inline constexpr int dns_tries = 3;
inline constexpr std::size_t dns_queries_max = 4096; // under way; over it: failure at once, counted

class dns_client final : public sip::dns_port {
public:
  // `servers`: "IP:PORT,IP:PORT", or empty for those of /etc/resolv.conf.
  static outcome<std::unique_ptr<dns_client>> make(loop& on, const std::string& servers = {});
  ~dns_client() override; // what is under way is answered `failure`

  void query(std::string name, sip::dns_type type, callback done) override;

  struct impl;

private:
  explicit dns_client(std::unique_ptr<impl> i);
  std::unique_ptr<impl> impl_;
};

} // namespace skald::node
