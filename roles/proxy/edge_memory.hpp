#pragma once
// What an edge knows of its flows: whose bindings were registered over them (sip.md §3), which of them are gone, and
// which bindings have since been registered over another one (sip.md §6). Learned when a REGISTER's 200 passes,
// forgotten with the grant. One per node: requests for a flow come by any link, and links are spread over the workers.
// Striped; any thread.
#include "base/clock.hpp"
#include "base/guarded.hpp"
#include "sip/flow.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t edge_memory_stripes = 64;
inline constexpr std::size_t flows_remembered_max = 1'000'000; // a node
inline constexpr std::size_t aors_per_flow_max = 32;
inline constexpr std::size_t moved_remembered_max = 1'000'000; // bindings of a node that went to other flows

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
  void forget(const sip::flow& f, std::uint64_t binding_id); // it was removed through another edge
  void forget(const sip::flow& f);

  // The subscriber of that flow; with several, `wished` if it is among them, else the first.
  std::optional<flow_binding> whose(const sip::flow& f, std::string_view wished, mono_time now) const;
  bool knows(const sip::flow& f, mono_time now) const { return whose(f, {}, now).has_value(); }

  // Three OPTIONS unanswered, or the transport said so: it is not sent to until it speaks again (sip.md §4).
  void mark_gone(const sip::flow& f);
  void mark_alive(const sip::flow& f);
  bool gone(const sip::flow& f) const;

  // That binding was registered over another flow since, says its owner: requests in dialogs look for the newer one
  // (sip.md §6). `until`: as long as the grant of the registration that went by the old flow could run.
  void mark_moved(const sip::flow& f, std::uint64_t binding_id, mono_time until);
  bool moved(const sip::flow& f, std::uint64_t binding_id, mono_time now) const;

  // Some binding that was registered over this flow is still to be reached by it: its NAT binding is worth keeping open.
  bool serves(const sip::flow& f, mono_time now) const;

  // Drops what has run out.
  void sweep(mono_time now);
  std::size_t size() const;

private:
  struct entry {
    std::vector<flow_binding> bindings;
    bool gone = false;
  };
  struct moved_key {
    sip::flow flow;
    std::uint64_t binding_id = 0;
    bool operator==(const moved_key&) const = default;
  };
  struct moved_hash {
    std::size_t operator()(const moved_key& k) const noexcept { return std::hash<sip::flow>{}(k.flow) ^ k.binding_id; }
  };
  struct stripe {
    std::unordered_map<sip::flow, entry> flows;
    std::unordered_map<moved_key, mono_time, moved_hash> moved;
  };
  // UDP flows are known by their addresses: any worker may receive from them.
  static sip::flow key_of(sip::flow f);
  template <class Which> void forget_those(const sip::flow& f, Which which);
  static std::size_t place_of(const sip::flow& key);
  guarded<stripe>& of(const sip::flow& key) { return stripes_[place_of(key)]; }
  const guarded<stripe>& of(const sip::flow& key) const { return stripes_[place_of(key)]; }

  std::array<guarded<stripe>, edge_memory_stripes> stripes_;
};

} // namespace skald::roles
