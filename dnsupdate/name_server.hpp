#pragma once
// The embedded DNS server (sip.md §10): answers for the cluster's own zone from records that follow from the view. A
// message in, a message out; no I/O. One thread.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/rng.hpp"
#include "dnsupdate/record.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::dnsupdate {

inline constexpr std::size_t plain_answer_max = 512;       // RFC 1035 §4.2.1
inline constexpr std::size_t edns_answer_max = 1232;       // what we send over UDP at most
inline constexpr std::size_t tcp_answer_max = 65'535;
inline constexpr double answers_per_second_max = 200;      // to one source: an IPv4 address or an IPv6 /64
inline constexpr double answers_burst = 400;
inline constexpr std::size_t sources_max = 8192;           // remembered; over it those of the last 2 s stay, others are dropped

// Token buckets by source.
class answer_limit {
public:
  bool take(const ip_address& source, mono_time now);
  std::size_t size() const { return buckets_.size(); }

private:
  struct bucket {
    double tokens;
    mono_time at;
  };
  std::unordered_map<ip_address, bucket> buckets_;
};

class name_server {
public:
  explicit name_server(rng& random) : random_(random) {}

  // `records` with SOA; sorted or not. Not `serving`: SERVFAIL, so that who asks turns to another server.
  void set_zone(std::string_view domain, std::vector<record> records, bool serving);

  // The answer, or nothing: not a query, or over the limit. Any bytes may come in.
  std::string answer(std::string_view query, const ip_address& source, bool tcp, mono_time now);

private:
  struct reply;
  void look_up(reply& r);
  void put_set(reply& r, const std::string& name, rr_type type, int section);
  void put_additional(reply& r, const std::string& name, rr_type type);

  rng& random_;
  std::string domain_;
  bool serving_ = false;
  std::map<std::string, std::map<rr_type, std::vector<record>>> names_;
  std::set<std::string> between_; // all names that exist, those in between too
  answer_limit limit_;
  std::uint64_t slips_ = 0;
};

} // namespace skald::dnsupdate
