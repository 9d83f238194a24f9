#include "dht/store/tables.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace skald::dht {
namespace {

std::uint64_t mix(std::uint64_t h, std::uint64_t v) {
  h ^= v;
  h *= 0x9e3779b97f4a7c15ULL;
  return h ^ (h >> 29);
}

std::uint64_t mix(std::uint64_t h, std::string_view bytes) {
  h = mix(h, bytes.size());
  while (bytes.size() >= 8) {
    h = mix(h, get_be<std::uint64_t>(bytes));
    bytes.remove_prefix(8);
  }
  std::uint64_t last = 0;
  for (const char c : bytes) last = (last << 8) | static_cast<std::uint8_t>(c);
  return mix(h, last);
}

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

bool supersedes(const record& a, const record& b) {
  if (a.version != b.version) return a.version > b.version;
  // A stub is the same record with its value forgotten: it must neither lose to nor win over what it came from.
  if (a.expires == b.expires && a.removed == b.removed && (a.value.empty() || b.value.empty())) return false;
  return std::tie(a.removed, a.expires, a.value) > std::tie(b.removed, b.expires, b.value);
}

record memory_tables::full(const slot_id& id, const item_state& s) {
  return {id.t, id.key, s.item, s.value, s.version, s.expires, s.removed};
}

std::uint64_t memory_tables::mark(const slot_id& id, const item_state& s) {
  auto h = mix(static_cast<std::uint64_t>(id.t) + 1, id.key.view());
  h = mix(h, s.item);
  h = mix(h, s.version.hlc);
  return mix(mix(h, s.version.writer), s.removed);
}

std::uint64_t memory_tables::weight(const item_state& s) { return s.item.size() + s.value.size() + 60; }

void memory_tables::account(const slot_id& id, const item_state& s, bool added) {
  const auto p = static_cast<std::uint16_t>(partition_of(id.key));
  auto& digest = digests_[p];
  digest ^= mark(id, s);
  if (digest == 0) digests_.erase(p);
  const auto bytes = weight(s);
  auto& records = figures_.records[id.t];
  if (added) {
    ++records;
    figures_.bytes += bytes;
    if (!is_durable(id.t)) figures_.volatile_bytes += bytes;
  } else {
    --records;
    figures_.bytes -= bytes;
    if (!is_durable(id.t)) figures_.volatile_bytes -= bytes;
  }
}

bool memory_tables::merge(record r, unix_ms now) {
  if (!r.live(now)) {
    r.value.clear();
    if (!is_durable(r.table) && r.version.time() + (longest_grant + stub_margin).count() < now) return false;
  }
  const slot_id id{r.key, r.table};
  return stripes_[stripe_of(r.key)].with([&](stripe& s) {
    auto& items = s[id];
    auto at = std::lower_bound(items.begin(), items.end(), r.item,
                               [](const item_state& a, const std::string& b) { return a.item < b; });
    if (at != items.end() && at->item == r.item) {
      if (!supersedes(r, full(id, *at))) return false;
      account(id, *at, false);
    } else {
      at = items.insert(at, item_state{r.item, {}, {}, 0, false});
    }
    at->value = std::move(r.value);
    at->version = r.version;
    at->expires = r.expires;
    at->removed = r.removed;
    account(id, *at, true);
    return true;
  });
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

std::vector<record> memory_tables::of(partition p) const {
  slot_id from{};
  from.key.bytes[0] = static_cast<std::uint8_t>(std::to_underlying(p) >> 8);
  from.key.bytes[1] = static_cast<std::uint8_t>(std::to_underlying(p));
  return stripes_[stripe_of(from.key)].with([&](const stripe& s) {
    std::vector<record> out;
    for (auto at = s.lower_bound(from); at != s.end() && partition_of(at->first.key) == p; ++at)
      for (const auto& item : at->second) out.push_back(full(at->first, item));
    return out;
  });
}

std::uint64_t memory_tables::digest(partition p) const {
  const auto found = digests_.find(std::to_underlying(p));
  return found == digests_.end() ? 0 : found->second;
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
    const bool dead = item.removed || (item.expires != 0 && item.expires <= now);
    if (!dead || item.version.time() + (longest_grant + stub_margin).count() >= now) return false;
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
