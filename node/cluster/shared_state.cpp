#include "node/cluster/shared_state.hpp"

#include "base/encoding.hpp"
#include "base/key_trust.hpp"
#include "base/log.hpp"
#include "dht/ring/ring.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::node {
namespace {

// Record value of a key: 8 bytes of its making time in ms, then the secret. The item is its id in decimal.
std::string encode_key(const cluster_key& k) {
  std::string out;
  put_be<std::uint64_t>(out, static_cast<std::uint64_t>(k.made));
  return out + k.secret;
}

std::optional<cluster_key> decode_key(const dht::record& r) {
  if (r.value.size() != 40) return std::nullopt;
  cluster_key k;
  k.id = static_cast<std::uint32_t>(std::strtoul(r.item.c_str(), nullptr, 10));
  k.made = static_cast<unix_ms>(get_be<std::uint64_t>(r.value));
  k.secret = r.value.substr(8);
  if (k.id == 0) return std::nullopt;
  return k;
}

unix_ms made_at(const cluster_key& k) { return distrusted(k) ? k.made + distrusted_shift : k.made; }

bool same_ids(const key_ring& a, const key_ring& b) {
  if (a.keys().size() != b.keys().size()) return false;
  for (std::size_t i = 0; i < a.keys().size(); ++i)
    if (a.keys()[i].id != b.keys()[i].id || a.keys()[i].made != b.keys()[i].made) return false;
  return true;
}

} // namespace

ring_key settings_key() { return dht::key_of_name("settings"); }
ring_key keys_key() { return dht::key_of_name("keys"); }

shared_state::shared_state(const clock& clk, scheduler& timers, rng& random, dht::store_api& store, std::string domain,
                           std::move_only_function<void()> changed)
    : clock_(clk), timers_(timers), random_(random), store_(store), domain_(std::move(domain)),
      changed_(std::move(changed)),
      config_(std::make_shared<roles::settings>(roles::read_settings(domain_, {}))) {}

void shared_state::start() { tick(); }

void shared_state::tick() {
  poll();
  timers_.at(clock_.now() + shared_poll_period, [this] { tick(); });
}

void shared_state::poll() {
  const std::weak_ptr<int> alive = alive_;
  store_.fetch(dht::table::keys, keys_key(), [this, alive](dht::fetch_result r) {
    if (!alive.expired()) take_keys(r);
  });
  store_.fetch(dht::table::settings, settings_key(), [this, alive](dht::fetch_result r) {
    if (!alive.expired()) take_settings(r);
  });
}

void shared_state::take_keys(const dht::fetch_result& r) {
  std::vector<cluster_key> found;
  for (const dht::record& rec : r.records)
    if (auto k = decode_key(rec)) found.push_back(std::move(*k));
  keys_in_doubt_ = r.firm ? 0 : keys_in_doubt_ + 1;
  if (r.firm || !found.empty()) keys_loaded_ = true;
  // Never fewer than before: an answer in doubt must not make us forget a key. What is past checking goes.
  key_ring merged = keys_->merged_with(key_ring(std::move(found)));
  std::vector<cluster_key> kept;
  for (const cluster_key& k : merged.keys())
    if (made_at(k) + key_life_checking.count() > store_.cluster_time() || &k == &merged.keys().back()) kept.push_back(k);
  if (kept.size() > cluster_keys_max) kept.erase(kept.begin(), kept.end() - cluster_keys_max);
  const key_ring fresh = distrust_before(key_ring(std::move(kept)), revoked_at_);
  if (!same_ids(*keys_, fresh)) {
    keys_ = std::make_shared<key_ring>(fresh);
    changed_();
  }
  if (r.firm) write_back(r);
  // A set that only grows takes no harm from one key more; a cluster of two must have new ones while the other is dead.
  if (duty_ && (r.firm || (keys_loaded_ && keys_in_doubt_ >= doubtful_polls_borne))) make_key_if_due();
}

// A key that this node has, and the cluster does not: its write was undone after we had read it, or all who held it lost
// their disks. This node may have sealed tokens with it, which the others must open: sets merge (consistency.md §8).
void shared_state::write_back(const dht::fetch_result& firm) {
  if (writing_back_) return;
  std::vector<dht::change> lost;
  for (const cluster_key& k : keys_->keys()) {
    cluster_key as_made = k;
    as_made.made = made_at(k);
    const unix_ms expires = as_made.made + key_life_checking.count();
    const std::string item = std::to_string(k.id);
    if (expires <= store_.cluster_time() || std::ranges::find(firm.records, item, &dht::record::item) != firm.records.end()) continue;
    lost.push_back({item, encode_key(as_made), expires, false});
  }
  if (lost.empty()) return;
  log::warning("keys", fmt::format("{} keys that this node has are lost in the cluster: they are written again", lost.size()));
  writing_back_ = true;
  const std::weak_ptr<int> alive = alive_;
  store_.put(dht::table::keys, keys_key(), std::move(lost), [this, alive](const dht::write_result&) {
    if (!alive.expired()) writing_back_ = false; // not acknowledged: the next poll finds it missing again
  });
}

void shared_state::make_key_if_due() {
  const unix_ms now = store_.cluster_time();
  const bool due = keys_->keys().empty() || keys_->keys().back().made + key_life_signing.count() <= now || keys_->keys().back().made < revoked_at_;
  if (!due || making_) return;
  making_ = true;
  // The CA's clock may be ahead of ours: a key counts as made after the revocation that it was made for.
  cluster_key k{static_cast<std::uint32_t>(1 + random_.below(0xfffffffe)), std::max(now, revoked_at_), random_.bytes(32)};
  const std::weak_ptr<int> alive = alive_;
  store_.put(dht::table::keys, keys_key(), {{std::to_string(k.id), encode_key(k), now + key_life_checking.count(), false}},
             [this, alive](dht::write_result w) {
               if (alive.expired()) return;
               making_ = false;
               if (w.outcome) {
                 log::info("keys", "made a new cluster key");
                 poll();
               }
             });
}

void shared_state::set_revoked_at(unix_ms t) {
  t = std::min(t, store_.cluster_time() + key_clock_slack.count()); // a CA whose clock is years ahead must not stop new keys
  if (t <= revoked_at_) return;
  revoked_at_ = t;
  poll();
}

void shared_state::take_settings(const dht::fetch_result& r) {
  // In doubt: what we have is kept. A doubtful answer may be an old one, and is good enough only for having none.
  // Nor must none be waited for longer than somebody could need to tell: who may hold them may be dead.
  settings_in_doubt_ = r.firm ? 0 : settings_in_doubt_ + 1;
  if (!r.firm && (settings_loaded_ || (r.records.empty() && settings_in_doubt_ < doubtful_polls_borne))) return;
  std::map<std::string, std::string> found;
  for (const dht::record& rec : r.records) found[rec.item] = rec.value;
  const bool first = !settings_loaded_;
  settings_loaded_ = true;
  if (!first && found == stored_) return;
  stored_ = std::move(found);
  config_ = std::make_shared<roles::settings>(roles::read_settings(domain_, stored_));
  changed_();
}

} // namespace skald::node
