#pragma once
// Where to look for the cluster at start (design §10): the seeds given (flags, then the bundle's), the addresses that
// were remembered from the last time, and SRV _skald._udp.DOMAIN. Cluster thread only.
#include "base/endpoint.hpp"
#include "sip/resolve/dns.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace skald::node {

inline constexpr std::uint16_t overlay_port_default = 4260;
inline constexpr std::size_t seeds_max = 64;

class seed_finder {
public:
  using found = std::function<void(const endpoint&)>;

  // `seeds`: HOST[:PORT]. `dns` may be nullptr: only numeric seeds then.
  seed_finder(sip::dns_port* dns, std::vector<std::string> seeds, std::vector<endpoint> remembered, std::string domain);

  // Calls `f` for each address, at once or when DNS has answered. Call again to try anew.
  void look(found f);
  const std::vector<std::string>& seeds() const { return seeds_; } // for "waiting for …"

private:
  void look_up(const std::string& host, std::uint16_t port, const found& f);

  sip::dns_port* dns_;
  std::vector<std::string> seeds_;
  std::vector<endpoint> remembered_;
  std::string domain_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

} // namespace skald::node
