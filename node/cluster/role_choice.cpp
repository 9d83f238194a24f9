#include "node/cluster/role_choice.hpp"

#include <algorithm>
#include <charconv>

namespace skald::node {

result<role_minimums> read_role_minimums(std::string_view text) {
  role_minimums out;
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto sign = item.find('=');
    if (sign == std::string_view::npos) return std::unexpected(errc::malformed);
    const auto role = dht::role_from(item.substr(0, sign));
    const std::string_view digits = item.substr(sign + 1);
    std::size_t n = 0;
    const auto [last, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (!role || error != std::errc{} || last != digits.data() + digits.size() || n > 64 || out.contains(*role)) return std::unexpected(errc::malformed);
    out[*role] = n;
  }
  return out;
}

dht::role_set role_choice::more(const dht::view& v, dht::role_set permitted, dht::role_set claimed, const role_minimums& wanted, mono_time now) {
  dht::role_set out;
  for (const auto& [role, least] : wanted) {
    std::size_t holders = 0;
    std::int64_t before = 0; // those without it who are to claim before this node
    for (const dht::member& m : v.members) {
      if (!m.alive() || m.state == dht::member_state::draining) continue;
      if (m.body.roles.has(role)) ++holders;
      else if (m.id < v.self) ++before;
    }
    if (holders >= least) {
      missing_since_.erase(role);
      continue;
    }
    const mono_time since = missing_since_.try_emplace(role, now).first->second;
    if (!permitted.has(role) || claimed.has(role)) continue;
    if (now - since >= role_missing_for + before * role_claim_step) out.add(role);
  }
  return out;
}

} // namespace skald::node
