#pragma once
// Roles that a node claims by itself (`--roles auto`): those of which the cluster has fewer holders than it wants, so that
// a role whose holders died is taken up by others who may hold it. Pure; cluster thread.
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "dht/view/view.hpp"

#include <map>
#include <string_view>

namespace skald::node {

// How many nodes are to hold each role; what is not named is nobody's by itself.
using role_minimums = std::map<dht::role, std::size_t>;
inline constexpr std::string_view role_minimums_default = "proxy=2,registrar=3,dns=2";
// "proxy=2,registrar=3": role names and numbers from 0 to 64. Error: malformed.
result<role_minimums> read_role_minimums(std::string_view text);

inline constexpr duration role_missing_for = seconds(2); // before the first claims; a restart is no reason
inline constexpr duration role_claim_step = seconds(1);  // between one claim and the next

// Nobody asks anybody: each waits by its place among those without the role, so that they claim one after the other and
// stop as soon as there are enough. What was claimed is kept: taking roles back by count would swing with every restart.
class role_choice {
public:
  // What to claim besides `claimed` now; call it twice a second with the view.
  dht::role_set more(const dht::view& v, dht::role_set permitted, dht::role_set claimed, const role_minimums& wanted, mono_time now);

private:
  std::map<dht::role, mono_time> missing_since_;
};

} // namespace skald::node
