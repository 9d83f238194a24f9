#pragma once
// OPTIONS every 25 s over UDP flows whose phone keeps no NAT binding alive by itself (sip.md §4). The edge that holds
// the flow asks; three unanswered in a row mark the flow as gone. One timer for each flow; one thread.
#include "roles/core/ports.hpp"
#include "roles/proxy/contexts.hpp"
#include "roles/proxy/edge_memory.hpp"

#include <cstdint>
#include <string>
#include <unordered_map>

namespace skald::roles {

inline constexpr seconds keepalive_every{25};
inline constexpr std::uint32_t keepalive_misses_max = 3;
inline constexpr std::size_t keepalive_flows_max = 100'000; // a worker

class keepalive {
public:
  keepalive(worker_env& env, edge_memory& flows, contexts& calls) : env_(env), flows_(flows), calls_(calls) {}

  // Pings that flow until `until`, while the edge's memory has a binding for it; called again it prolongs. `contact`: the Request-URI.
  void watch(const sip::flow& f, std::string contact, mono_time until, std::shared_ptr<const name_index> names);
  void stop(const sip::flow& f);

  // From the transaction layer; false: not a ping of ours.
  bool on_response(sip::client_id id);
  bool on_failure(sip::client_id id);
  bool on_ended(sip::client_id id) { return asked_.erase(id) > 0; }
  std::size_t size() const { return watched_.size(); }

private:
  struct entry {
    std::string contact;
    mono_time until{};
    timer_id timer = timer_id::none;
    sip::client_id pending = sip::client_id::none;
    std::uint32_t misses = 0;
    std::shared_ptr<const name_index> names;
  };
  void arm(const sip::flow& f, entry& e, duration after);
  void ping(const sip::flow& f);
  void missed(const sip::flow& f, entry& e);
  sip::message make_ping(const entry& e);

  worker_env& env_;
  edge_memory& flows_;
  contexts& calls_;
  std::unordered_map<sip::flow, entry> watched_;
  std::unordered_map<sip::client_id, sip::flow> asked_;
  std::uint32_t cseq_ = 0;
};

} // namespace skald::roles
