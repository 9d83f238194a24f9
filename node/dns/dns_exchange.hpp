#pragma once
// One DNS message there and one back, by UDP from a fresh port or by TCP: the publisher's way to its server. The loop's
// thread only.
#include "dnsupdate/zone_reader.hpp"
#include "node/io/graveyard.hpp"
#include "node/io/loop.hpp"

#include <memory>
#include <unordered_map>

namespace skald::node {

inline constexpr duration dns_udp_time = seconds(1);
inline constexpr duration dns_tcp_time = seconds(4);
inline constexpr std::size_t dns_exchanges_max = 64; // under way; over it: `too_large` at once

class dns_exchange final : public dnsupdate::exchange_port {
public:
  explicit dns_exchange(loop& on);
  ~dns_exchange() override; // what is under way is dropped, its call-backs are not made
  void exchange(const endpoint& server, std::string wire, bool tcp, callback done) override;

private:
  class one;
  class udp_one;
  class tcp_one;
  void finish(one& o, result<std::string> got);

  loop& loop_;
  std::unordered_map<one*, std::unique_ptr<one>> running_;
  graveyard<one> ended_;
};

} // namespace skald::node
