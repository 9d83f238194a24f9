#include "base/key_ring.hpp"

#include "base/crypto.hpp"

#include <algorithm>

namespace skald {

std::string cluster_key::derive(std::string_view purpose) const { return crypto::hmac_sha256(secret, purpose); }

key_ring::key_ring(std::vector<cluster_key> keys) : keys_(std::move(keys)) {
  std::ranges::sort(keys_, [](const cluster_key& a, const cluster_key& b) {
    return a.made != b.made ? a.made < b.made : a.id < b.id;
  });
  std::vector<cluster_key> unique;
  for (cluster_key& k : keys_)
    if (std::ranges::none_of(unique, [&](const cluster_key& u) { return u.id == k.id; })) unique.push_back(std::move(k));
  keys_ = std::move(unique);
}

key_ring key_ring::merged_with(const key_ring& other) const {
  std::vector<cluster_key> all = keys_;
  all.insert(all.end(), other.keys_.begin(), other.keys_.end());
  return key_ring(std::move(all));
}

const cluster_key* key_ring::signing(unix_ms now) const {
  if (keys_.empty()) return nullptr;
  for (auto it = keys_.rbegin(); it != keys_.rend(); ++it)
    if (it->made + key_settle_time.count() <= now) return &*it;
  return &keys_.front();
}

const cluster_key* key_ring::find(std::uint32_t id) const {
  const auto it = std::ranges::find(keys_, id, &cluster_key::id);
  return it == keys_.end() ? nullptr : &*it;
}

} // namespace skald
