#pragma once
// Answers kept for their TTL, and one question at a time for each name and type. Stands in front of a dns_port. One
// thread: each worker has its own.
#include "sip/resolve/dns.hpp"

#include <memory>

namespace skald::sip {

inline constexpr std::size_t dns_cache_entries_max = 10'000; // the oldest go first
inline constexpr std::size_t dns_cache_waiting_max = 10'000; // callers that wait for an answer; over it: failure
inline constexpr seconds dns_positive_ttl_max{3600};
inline constexpr seconds dns_negative_ttl_max{60}; // nxdomain, nodata
inline constexpr seconds dns_failure_ttl{1};       // so that a dead resolver is not asked for each request

class dns_cache final : public dns_port {
public:
  // Both must outlive this. Callbacks that come after its end are dropped with what they were for.
  dns_cache(const clock& clk, dns_port& behind);
  ~dns_cache() override;

  void query(std::string name, dns_type type, callback done) override;
  std::size_t size() const;
  void clear(); // forgets answers, not the questions under way

private:
  struct state;
  std::shared_ptr<state> state_; // callbacks of the port hold it weakly
  dns_port& behind_;
};

} // namespace skald::sip
