#include "roles/proxy/leg_index.hpp"

#include "base/metrics.hpp"

namespace skald::roles {

namespace {
metrics::counter not_entered("skald_leg_index_full_total", "Legs that other workers cannot find: the index was full.");
constexpr std::size_t per_stripe = leg_index_entries_max / leg_index_stripes;
} // namespace

std::uint16_t leg_index::claim(const leg_key& leg, std::uint16_t me) {
  return of(leg).with([&](stripe& s) {
    if (const auto it = s.legs.find(leg); it != s.legs.end()) return it->second;
    if (s.legs.size() >= per_stripe)
      not_entered.add();
    else
      s.legs.emplace(leg, me);
    return me;
  });
}

std::optional<std::uint16_t> leg_index::find(const leg_key& leg) const {
  return of(leg).with([&](const stripe& s) {
    const auto it = s.legs.find(leg);
    return it == s.legs.end() ? std::nullopt : std::optional(it->second);
  });
}

void leg_index::release(const leg_key& leg, std::uint16_t me) {
  of(leg).with([&](stripe& s) {
    if (const auto it = s.legs.find(leg); it != s.legs.end() && it->second == me) s.legs.erase(it);
  });
}

void leg_index::expect_ack(const leg_key& caller, std::uint16_t me) {
  of(caller).with([&](stripe& s) {
    if (s.acks.size() >= per_stripe)
      not_entered.add();
    else
      s.acks.emplace(caller, me);
  });
}

std::vector<std::uint16_t> leg_index::who_expects_ack(const leg_key& caller) const {
  return of(caller).with([&](const stripe& s) {
    std::vector<std::uint16_t> out;
    for (auto [it, end] = s.acks.equal_range(caller); it != end; ++it)
      out.push_back(it->second);
    return out;
  });
}

void leg_index::ack_settled(const leg_key& caller, std::uint16_t me) {
  of(caller).with([&](stripe& s) {
    for (auto [it, end] = s.acks.equal_range(caller); it != end; ++it)
      if (it->second == me) {
        s.acks.erase(it);
        return;
      }
  });
}

void leg_index::keep_quiet(const leg_key& ua, mono_time now, mono_time until) {
  of(ua).with([&](stripe& s) {
    while (!s.quiet_order.empty()) {
      const auto it = s.quiet.find(s.quiet_order.front());
      if (it != s.quiet.end() && it->second > now && s.quiet.size() < per_stripe) break;
      if (it != s.quiet.end()) s.quiet.erase(it);
      s.quiet_order.pop_front();
    }
    if (s.quiet.insert_or_assign(ua, until).second) s.quiet_order.push_back(ua);
  });
}

mono_time leg_index::quiet_until(const leg_key& ua) const {
  return of(ua).with([&](const stripe& s) {
    const auto it = s.quiet.find(ua);
    return it == s.quiet.end() ? mono_time{} : it->second;
  });
}

std::size_t leg_index::size() const {
  std::size_t n = 0;
  for (const auto& s : stripes_)
    n += s.with([](const stripe& one) { return one.legs.size() + one.acks.size() + one.quiet.size(); });
  return n;
}

} // namespace skald::roles
