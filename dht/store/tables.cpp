#include "dht/store/tables.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace skald::dht {
namespace {

std::uint64_t mixed(std::uint64_t h, std::string_view bytes) {
  h = dht::mixed(h, bytes.size());
  while (bytes.size() >= 8) {
    h = dht::mixed(h, get_be<std::uint64_t>(bytes));
    bytes.remove_prefix(8);
  }
  std::uint64_t last = 0;
  for (const char c : bytes) last = (last << 8) | static_cast<std::uint8_t>(c);
  return dht::mixed(h, last);
}

std::uint64_t hash_of_value(std::string_view value) { return last_mix(mixed(3, value)); }
const std::uint64_t hash_of_nothing = hash_of_value({});

std::uint64_t value_hash(const record& r) { return r.value_hash != 0 ? r.value_hash : hash_of_value(r.value); }

// What decides of a record without its value: the same for one on the wire and one that is kept.
struct face {
  table t{};
  const ring_key& key;
  std::string_view item;
  version v;
  unix_ms expires = 0;
  bool removed = false;
  std::uint64_t value_hash = 0;
};
face face_of(const record& r) { return {r.table, r.key, r.item, r.version, r.expires, r.removed, value_hash(r)}; }

std::uint64_t name_mark(const face& f) {
  return last_mix(mixed(mixed(static_cast<std::uint64_t>(f.t) + 1, f.key.view()), f.item));
}

std::uint64_t mark(const face& f) {
  auto h = dht::mixed(name_mark(f), f.v.hlc);
  h = dht::mixed(h, f.v.writer);
  h = dht::mixed(h, static_cast<std::uint64_t>(f.expires));
  return last_mix(dht::mixed(dht::mixed(h, f.value_hash), f.removed));
}

unix_ms reclaimed(const face& f) {
  if (is_durable(f.t) || (!f.removed && f.expires == 0)) return kept_for_good;
  return std::max(f.expires, f.v.time() + longest_grant(f.t).count()) + stub_margin.count();
}

constexpr std::uint64_t bytes_in_log = 60, bytes_in_memory = 230; // of a record, besides item and value
constexpr std::size_t keys_per_record = 16; // looked at in one page, per record asked for

} // namespace

bool is_durable(table t) {
  switch (t) {
  case table::subscribers:
  case table::settings:
  case table::keys:
  case table::aor_index: return true;
  case table::bindings:
  case table::nonces:
  case table::dialogs: return false;
  }
  return false;
}

milliseconds longest_grant(table t) {
  constexpr milliseconds hour{3'600'000};
  switch (t) {
  case table::bindings: return 24 * hour; // the ceiling of the setting grant_max_s
  case table::dialogs: return 12 * hour;
  case table::nonces: return hour;
  case table::subscribers:
  case table::settings:
  case table::keys:
  case table::aor_index: break;
  }
  return milliseconds::max();
}

unix_ms reclaimed_at(const record& r) { return reclaimed(face_of(r)); }

bool supersedes(const record& a, const record& b) {
  if (a.version != b.version) return a.version > b.version;
  return std::tuple(a.removed, a.expires, value_hash(a)) > std::tuple(b.removed, b.expires, value_hash(b));
}

held_item as_held(const record& r) {
  const auto f = face_of(r);
  return {name_mark(f), r.version.hlc, static_cast<std::uint32_t>(mark(f))};
}

record memory_tables::full(const slot_id& id, const item_state& s) {
  const bool forgotten = s.value.empty() && !s.removed && s.value_hash != hash_of_nothing;
  return {id.t, id.key, s.item, s.value, s.version, s.expires, s.removed, forgotten ? s.value_hash : 0};
}

void memory_tables::account(const slot_id& id, const item_state& s, bool added) {
  const face f{id.t, id.key, s.item, s.version, s.expires, s.removed, s.value_hash};
  digests_.toggle(partition_of(id.key), reclaimed(f), mark(f));
  const auto count = [added](std::uint64_t& sum, std::uint64_t n) { sum = added ? sum + n : sum - n; };
  const std::uint64_t payload = s.item.size() + s.value.size();
  count(figures_.records[id.t], 1);
  count(figures_.bytes, payload + bytes_in_log);
  count(figures_.memory, payload + bytes_in_memory);
  if (!is_durable(id.t)) count(figures_.volatile_bytes, payload + bytes_in_log);
}

bool memory_tables::merge(record r, unix_ms now) {
  if (r.item == floor_item && !r.removed) return false; // no such thing
  const bool live = r.live(now);
  r.value_hash = value_hash(r);
  if (!live) {
    r.value.clear();
    if (reclaimed_at(r) <= now) return false;
  }
  const slot_id id{r.key, r.table};
  return stripes_[stripe_of(r.key)].with([&](stripe& s) {
    auto& items = s[id];
    const bool taken = merge(items, id, std::move(r));
    if (items.empty()) s.erase(id);
    return taken;
  });
}

bool memory_tables::merge(slot& items, const slot_id& id, record&& r) {
  const auto place = [&](std::string_view item) {
    return std::lower_bound(items.begin(), items.end(), item,
                            [](const item_state& a, std::string_view b) { return a.item < b; });
  };
  if (const auto floor = place(floor_item); floor != items.end() && floor->item == floor_item)
    if (r.item != floor_item && r.version < floor->version) return false;
  auto at = place(r.item);
  if (at != items.end() && at->item == r.item) {
    const auto rank = [](const auto& x) { return std::tie(x.version, x.removed, x.expires, x.value_hash); };
    if (rank(r) < rank(*at)) return false; // supersedes(), without a copy
    if (rank(r) == rank(*at)) { // a stub that was made by a clock gone wrong gets its value back
      if (r.value.empty() || !at->value.empty()) return false;
    }
    account(id, *at, false);
  } else {
    at = items.insert(at, item_state{r.item, {}, {}, 0, 0, false});
  }
  at->value = std::move(r.value);
  at->version = r.version;
  at->expires = r.expires;
  at->value_hash = r.value_hash;
  at->removed = r.removed;
  account(id, *at, true);
  if (r.item == floor_item)
    std::erase_if(items, [&](const item_state& i) {
      if (i.version >= r.version) return false;
      account(id, i, false);
      return true;
    });
  return true;
}

std::vector<record> memory_tables::all(table t, const ring_key& k) const {
  const slot_id id{k, t};
  return stripes_[stripe_of(k)].with([&](const stripe& s) {
    std::vector<record> out;
    if (const auto found = s.find(id); found != s.end()) {
      out.reserve(found->second.size());
      for (const auto& item : found->second) out.push_back(full(id, item));
    }
    return out;
  });
}

std::vector<record> memory_tables::live(table t, const ring_key& k, unix_ms now) const {
  auto out = all(t, k);
  std::erase_if(out, [&](const record& r) { return !r.live(now); });
  return out;
}

std::optional<record> memory_tables::find(table t, const ring_key& k, const std::string& item) const {
  const slot_id id{k, t};
  return stripes_[stripe_of(k)].with([&](const stripe& s) -> std::optional<record> {
    const auto found = s.find(id);
    if (found == s.end()) return std::nullopt;
    for (const auto& i : found->second)
      if (i.item == item) return full(id, i);
    return std::nullopt;
  });
}

template <class F>
void memory_tables::for_each_in(partition p, F&& f) const {
  slot_id from{};
  from.key.bytes[0] = static_cast<std::uint8_t>(std::to_underlying(p) >> 8);
  from.key.bytes[1] = static_cast<std::uint8_t>(std::to_underlying(p));
  stripes_[stripe_of(from.key)].with([&](const stripe& s) {
    for (auto at = s.lower_bound(from); at != s.end() && partition_of(at->first.key) == p; ++at)
      for (const auto& item : at->second) f(at->first, item);
  });
}

std::vector<record> memory_tables::of(partition p, std::optional<std::size_t> sub_range) const {
  std::vector<record> out;
  for_each_in(p, [&](const slot_id& id, const item_state& s) {
    if (!sub_range || sub_range_of(id.key) == *sub_range) out.push_back(full(id, s));
  });
  return out;
}

std::array<std::uint64_t, sub_ranges> memory_tables::sub_digests(partition p, unix_ms cut) const {
  std::array<std::uint64_t, sub_ranges> out{};
  for_each_in(p, [&](const slot_id& id, const item_state& s) {
    const face f{id.t, id.key, s.item, s.version, s.expires, s.removed, s.value_hash};
    if (reclaimed(f) >= cut) out[sub_range_of(id.key)] ^= mark(f);
  });
  return out;
}

void memory_tables::erase(partition p) {
  slot_id from{};
  from.key.bytes[0] = static_cast<std::uint8_t>(std::to_underlying(p) >> 8);
  from.key.bytes[1] = static_cast<std::uint8_t>(std::to_underlying(p));
  stripes_[stripe_of(from.key)].with([&](stripe& s) {
    auto at = s.lower_bound(from);
    while (at != s.end() && partition_of(at->first.key) == p) {
      for (const auto& item : at->second) account(at->first, item, false);
      at = s.erase(at);
    }
  });
}

std::vector<record> memory_tables::page(std::optional<table> t, std::string& cursor, std::size_t limit,
                                        const std::function<bool(const ring_key&)>& wanted) const {
  slot_id behind{};
  const bool fresh = cursor.size() != 21; // key, table
  if (!fresh) {
    behind.key = ring_key::from_bytes(std::string_view(cursor).substr(0, 20)).value_or(ring_key{});
    behind.t = static_cast<table>(cursor[20]);
  }
  cursor.clear();
  std::vector<record> out;
  std::size_t looked_at = 0;
  for (std::size_t i = fresh ? 0 : stripe_of(behind.key); i < stripe_count; ++i) {
    const bool full_page = stripes_[i].with([&](const stripe& s) {
      for (auto at = fresh ? s.begin() : s.upper_bound(behind); at != s.end(); ++at) {
        const bool ours = (!t || at->first.t == *t) && (!wanted || wanted(at->first.key));
        if (ours)
          for (const auto& item : at->second) out.push_back(full(at->first, item));
        if (out.size() < limit && ++looked_at < limit * keys_per_record) continue;
        cursor.assign(at->first.key.view());
        cursor.push_back(static_cast<char>(at->first.t));
        return true;
      }
      return false;
    });
    if (full_page) return out;
  }
  return out;
}

void memory_tables::sweep_slot(const slot_id& id, slot& s, unix_ms now) {
  for (auto& item : s) {
    const bool dead = item.removed || (item.expires != 0 && item.expires <= now);
    if (!dead || item.value.empty()) continue;
    account(id, item, false);
    std::string().swap(item.value);
    account(id, item, true);
  }
  if (is_durable(id.t)) return; // durable tombstones are kept for good
  std::erase_if(s, [&](const item_state& item) {
    if (reclaimed({id.t, id.key, item.item, item.version, item.expires, item.removed, item.value_hash}) > now) return false;
    account(id, item, false);
    return true;
  });
}

void memory_tables::sweep(unix_ms now, std::size_t keys) {
  for (std::size_t stripes = 0; keys > 0 && stripes < stripe_count; ++stripes) {
    const bool ended = stripes_[sweep_stripe_].with([&](stripe& s) {
      auto at = s.lower_bound(sweep_at_);
      for (; at != s.end() && keys > 0; --keys) {
        sweep_slot(at->first, at->second, now);
        at = at->second.empty() ? s.erase(at) : std::next(at);
      }
      if (at != s.end()) sweep_at_ = at->first;
      return at == s.end();
    });
    if (!ended) return;
    sweep_stripe_ = (sweep_stripe_ + 1) % stripe_count;
    sweep_at_ = {};
  }
}

} // namespace skald::dht
