#pragma once
// A binding as it is kept in table::bindings under the AoR's key (RFC 3261 §10.3, RFC 5626 §6).
#include "base/clock.hpp"
#include "base/errors.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

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

  std::string item() const;      // the store's item: "i:INSTANCE:REGID" or "c:" + normalized contact
};
std::string encode(const binding& b);            // msgpack, positional
result<binding> decode_binding(std::string_view bytes);

} // namespace skald::roles
