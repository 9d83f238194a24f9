#pragma once
// Where a subscriber can be reached: the bindings under an AoR's key, as `term` and the registrar read them.
#include "roles/core/binding.hpp"
#include "roles/core/ports.hpp"
#include "roles/core/subscriber.hpp"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

// The readable ones of the records of one key, highest q first, then the newest. Of two under one (instance, reg-id)
// only the newest flow counts (RFC 5626 §6). What does not decode is skipped and counted.
std::vector<binding> bindings_of(std::span<const dht::record> records);

// The flows of one UA: alternatives to one another, the first to be tried first (RFC 5626 §7). Bindings without reg-id
// stand alone: two contacts without it are two places to ring.
struct reach {
  std::vector<binding> flows; // newest first; never empty
  std::uint16_t q() const { return flows.front().q; }
};
// In the order of q, as `bindings_of` gave them.
std::vector<reach> group_by_instance(std::vector<binding> sorted);

// ---- questions to the store. `done` runs on the calling worker: before lookup() returns if this node answers for the
// key by itself, else within 2 s. `firm` false: nodes that may know more did not answer, an absence is in doubt. The
// env has to live until then (it lives as long as its worker).
struct location_result {
  std::vector<binding> bindings;
  bool firm = false;
};
void lookup(worker_env& env, std::string_view aor, std::move_only_function<void(location_result)> done);

struct subscriber_result {
  std::optional<subscriber> who; // an alias gives its signpost, unfollowed
  bool firm = false;
};
void lookup_subscriber(worker_env& env, std::string_view aor, std::move_only_function<void(subscriber_result)> done);

// Either of them underneath.
void lookup_records(worker_env& env, dht::table t, const ring_key& key,
                    std::move_only_function<void(dht::fetch_result)> done);

} // namespace skald::roles
