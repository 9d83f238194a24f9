#pragma once
// What a REGISTER does to the bindings of its AoR (RFC 3261 §10.3 steps 6 and 7, sip.md §4): all of it or nothing. Pure;
// the store runs it at the owner, in order with all other writes to that key.
#include "dht/store/store.hpp"
#include "roles/core/binding.hpp"
#include "roles/registrar/register_request.hpp"

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t contacts_per_aor_max = 32;

enum class update_refusal : int {
  out_of_order = 1,  // CSeq not above the binding's with that Call-ID
  too_many = 2,      // contacts_per_aor_max
  repeat_undone = 3, // a retransmission of what has since been undone
};

struct registration {
  register_request wanted;
  std::string aor;
  std::string edge;           // node name of the edge that holds the flow
  unix_ms now = 0;            // cluster time
  unix_ms nonce_made = 0;     // of the nonce its digest used; 0: not known
  bool repeated = false;      // the very same request was carried out before: answer the same, change nothing
  bool again = false;         // another owner may have begun it: what it left of this very request is no later one
  // Bindings of the instance whose flow is known to be gone, as they were when that was seen.
  struct gone {
    std::string item;
    unix_ms updated = 0;
  };
  std::vector<gone> flows_gone;
};

// `current`: the live records of the key.
std::expected<std::vector<dht::change>, update_refusal> update_bindings(const registration& r,
                                                                        const std::vector<dht::record>& current);

} // namespace skald::roles
