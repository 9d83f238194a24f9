#pragma once
// A binding as it is kept in table::bindings under the AoR's key (RFC 3261 §10.3, RFC 5626 §6).
#include "base/clock.hpp"
#include "base/errors.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

// ---- Named limits.
inline constexpr std::size_t former_flows_max = 3; // of a binding; the oldest goes
inline constexpr seconds former_flow_kept{300};    // after the flow changed; longer than anything rings

// A flow that this binding, or one whose place it took, had a moment ago. What an owner forked there before it died may still
// ring, and the copy of that request has to find it (sip.md §6).
struct former_flow {
  std::uint64_t binding_id = 0;
  std::string path;  // the topmost value
  unix_ms until = 0; // cluster time
  bool operator==(const former_flow&) const = default;
};

struct binding {
  std::string aor;               // canonical
  std::string contact;           // the URI
  std::string contact_params;    // header parameters of ours to give back in 200 OK, with the first ';'
  std::uint16_t q = 1000;        // thousandths
  std::string instance;          // +sip.instance without quotes, or empty
  std::uint32_t reg_id = 0;      // 0: none
  std::string call_id;
  std::uint32_t cseq = 0;
  std::vector<std::string> path; // values, topmost first; [0] is our edge's token URI
  std::string edge;              // node name of that edge
  std::string user_agent;
  unix_ms updated = 0;           // cluster time of the last REGISTER that wrote it
  unix_ms expires = 0;
  std::uint64_t id = 0;          // sip::binding_id(): of (AoR, instance and reg-id, or contact)
  std::vector<former_flow> former; // newest first

  std::string item() const;      // the store's item: "i:INSTANCE:REGID" or "c:" + normalized contact
};
std::string encode(const binding& b);            // msgpack, positional
result<binding> decode_binding(std::string_view bytes);

} // namespace skald::roles
