#pragma once
// What an edge knows of its flows: whose bindings were registered over them (sip.md §3). Learned when a REGISTER's 200
// passes, forgotten with the grant. One per worker; one thread.
#include "base/clock.hpp"
#include "sip/flow.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t flows_remembered_max = 200'000; // a worker
inline constexpr std::size_t aors_per_flow_max = 32;

struct flow_binding {
  std::string aor;
  std::uint64_t binding_id = 0;
  mono_time until{};
};

class edge_memory {
public:
  // False: over a limit; the flow then counts as a stranger's.
  bool learn(const sip::flow& f, std::string_view aor, std::uint64_t binding_id, mono_time until);
  void forget(const sip::flow& f, std::string_view aor);
  void forget(const sip::flow& f);

  // The subscriber of that flow; with several, `wished` if it is among them, else the first.
  std::optional<flow_binding> whose(const sip::flow& f, std::string_view wished, mono_time now) const;
  bool knows(const sip::flow& f, mono_time now) const { return whose(f, {}, now).has_value(); }

  // Three OPTIONS unanswered, or the transport said so: it is not sent to until it speaks again (sip.md §4).
  void mark_gone(const sip::flow& f);
  void mark_alive(const sip::flow& f);
  bool gone(const sip::flow& f) const;

  // Drops what has run out; a slice of the table for each call.
  void sweep(mono_time now);
  std::size_t size() const { return flows_.size(); }

private:
  struct entry {
    std::vector<flow_binding> bindings;
    bool gone = false;
  };
  // UDP flows are known by their addresses: any worker may receive from them.
  static sip::flow key_of(sip::flow f);
  std::unordered_map<sip::flow, entry> flows_;
};

} // namespace skald::roles
