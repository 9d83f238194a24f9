#include "tests/sim/model.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace skald::sim {
namespace {

constexpr duration unknown_lasts = seconds(8); // an operation without an answer is over by then: two deadlines and delays
constexpr unix_ms expiry_slack_ms = 3000;

const dht::record* record_of(const std::vector<dht::record>& found, const std::string& item) {
  const auto at = std::ranges::find(found, item, &dht::record::item);
  return at == found.end() ? nullptr : &*at;
}

mono_time end_of(const operation& o) {
  return o.how == operation::state::acknowledged ? o.ended : std::max(o.ended, o.issued + unknown_lasts);
}

// An earlier one without an acknowledgement may have been carried out after a later one.
bool beside(const operation& o, const operation& last) {
  return o.how != operation::state::acknowledged && end_of(o) > last.issued;
}

std::string text_of(const operation& o) {
  const char* const states[] = {"pending", "acknowledged", "failed", "unanswered", "undone"};
  const auto s = [](mono_time t) { return static_cast<double>((t.time_since_epoch() - seconds(1000)).count()) / 1e6; };
  return fmt::format("{} {} ({:.3f} to {:.3f}, {}{})", o.what == operation::kind::put ? "put" : "remove", o.number, s(o.issued),
                     s(o.ended), states[static_cast<int>(o.how)], o.lost ? ", lost" : "");
}

} // namespace

std::string value_of(op_number n) { return fmt::format("op{:012}{}", n, std::string(60, 'v')); }

op_number number_in(std::string_view value) {
  if (value.size() < 14 || !value.starts_with("op")) return 0;
  return std::stoull(std::string(value.substr(2, 12)));
}

op_number model::begin(const item_id& item, operation::kind what, unix_ms grant_ms, mono_time now) {
  operation o;
  o.number = next_++;
  o.what = what;
  o.issued = now;
  o.grant_ms = grant_ms;
  where_.emplace(o.number, item);
  items_[item].push_back(o);
  return o.number;
}

void model::end(op_number n, operation::state how, mono_time now, unix_ms expires, bool alone) {
  auto& h = items_.at(where_.at(n));
  const auto at = std::ranges::lower_bound(h, n, {}, &operation::number);
  if (at->how != operation::state::pending) return; // it had been given up
  at->how = how;
  at->ended = now;
  at->expires = expires;
  at->alone = alone;
  acknowledged_ += how == operation::state::acknowledged;
}

const operation* model::find(op_number n) const {
  const auto item = where_.find(n);
  if (item == where_.end()) return nullptr;
  const auto& h = items_.at(item->second);
  const auto at = std::ranges::lower_bound(h, n, {}, &operation::number);
  return at == h.end() || at->number != n ? nullptr : &*at;
}

void model::held(int machine, const dht::record& r) {
  held_record& now = held_[machine][{r.table, r.key, r.item}];
  if (r.version < now.version) return;
  now = {std::max(number_in(r.value), now.number), r.removed, r.version};
  if (!r.removed) now.number = number_in(r.value);
}

// A tombstone does not say whose it is: an earlier one, at a node that missed what came between, is not this removal.
bool model::held_somewhere(const item_id& item, const operation& o) const {
  const held_record* newest = nullptr;
  for (const auto& [machine, items] : held_) {
    const auto at = items.find(item);
    if (at == items.end()) continue;
    if (at->second.number > o.number || (at->second.number == o.number && o.what == operation::kind::put)) return true;
    if (newest == nullptr || newest->version < at->second.version) newest = &at->second;
  }
  return o.what == operation::kind::remove && newest != nullptr && newest->removed;
}

const operation* model::last_acknowledged(const history& h, mono_time before) const {
  const operation* last = nullptr;
  for (const operation& o : h)
    if (o.how == operation::state::acknowledged && !o.lost && o.ended <= before) last = &o;
  return last;
}

model::verdict model::judge_read(dht::table t, const ring_key& key, const std::vector<dht::record>& found, unix_ms cluster_time,
                                 mono_time from) const {
  for (auto at = items_.lower_bound({t, key, std::string()}); at != items_.end(); ++at) {
    const auto& [table, k, item] = at->first;
    if (table != t || k != key) break;
    const history& h = at->second;
    const operation* last = last_acknowledged(h, from);
    if (last == nullptr) continue;
    const dht::record* r = record_of(found, item);
    if (r != nullptr) {
      const operation* o = find(number_in(r->value));
      if (o == nullptr) return {7, fmt::format("a value that nobody wrote: {}", r->value)};
      if (o->number >= last->number || beside(*o, *last)) continue;
      const bool removed = last->what == operation::kind::remove;
      return {removed ? 2 : 7, fmt::format("{} is found after {}", number_in(r->value), text_of(*last))};
    }
    // Absent: so must be the outcome of one of those that count.
    const bool may_be_absent = std::ranges::any_of(h, [&](const operation& o) {
      if (o.how == operation::state::undone || (o.number < last->number && !beside(o, *last))) return false;
      if (o.what == operation::kind::remove) return true;
      if (o.grant_ms == 0) return false;
      if (o.how == operation::state::acknowledged) return o.expires - expiry_slack_ms <= cluster_time;
      return true; // of one without an answer nobody knows how long it was granted
    });
    if (!may_be_absent) return {4, fmt::format("a firm absence after {}", text_of(*last))};
  }
  return {};
}

model::verdict model::judge_at_rest(dht::table t, const ring_key& key, const std::vector<dht::record>& found, unix_ms cluster_time,
                                    duration skew) const {
  for (auto at = items_.lower_bound({t, key, std::string()}); at != items_.end(); ++at) {
    const auto& [table, k, item] = at->first;
    if (table != t || k != key) break;
    const history& h = at->second;
    const auto superseded = [&](const operation& o) {
      return std::ranges::any_of(h, [&](const operation& a) {
        return a.how == operation::state::acknowledged && !a.lost && a.number > o.number && a.issued >= end_of(o) + skew;
      });
    };
    const operation* last = last_acknowledged(h, mono_time::max());
    const dht::record* r = record_of(found, item);
    if (r != nullptr) {
      const auto o = std::ranges::find(h, number_in(r->value), &operation::number);
      if (o == h.end()) return {7, fmt::format("a value that nobody wrote: {}", r->value)};
      if (o->how == operation::state::undone) return {7, fmt::format("what the rule refused is there: {}", text_of(*o))};
      if (superseded(*o)) return {last->what == operation::kind::remove ? 2 : 1, fmt::format("{} is found at rest, after {}", text_of(*o), text_of(*last))};
      if (r->expires != 0 && r->expires + expiry_slack_ms < cluster_time) return {2, fmt::format("{} is there after it expired", text_of(*o))};
      continue;
    }
    if (last == nullptr) continue;
    const bool may_be_absent = std::ranges::any_of(h, [&](const operation& o) {
      if (o.how == operation::state::undone || superseded(o)) return false;
      if (o.lost || o.what == operation::kind::remove) return true;
      if (o.grant_ms == 0) return false;
      return o.how != operation::state::acknowledged || o.expires - expiry_slack_ms <= cluster_time;
    });
    if (!may_be_absent) return {1, fmt::format("nothing is found at rest, after {}", text_of(*last))};
  }
  return {};
}

std::vector<std::pair<dht::table, ring_key>> model::keys() const {
  std::vector<std::pair<dht::table, ring_key>> out;
  for (const auto& [id, h] : items_)
    if (out.empty() || out.back() != std::pair(std::get<0>(id), std::get<1>(id))) out.emplace_back(std::get<0>(id), std::get<1>(id));
  return out;
}

} // namespace skald::sim
