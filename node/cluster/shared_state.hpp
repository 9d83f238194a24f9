#pragma once
// What every node must have of the cluster's durable state: the keys (consistency.md §8) and the settings (design §10).
// Both live in the store under one key each; this room keeps a copy of both, asks for news every second, and makes new
// keys when this node owns their record. Cluster thread only.
#include "base/clock.hpp"
#include "base/key_ring.hpp"
#include "base/rng.hpp"
#include "base/scheduler.hpp"
#include "dht/store/store.hpp"
#include "roles/core/settings.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace skald::node {

inline constexpr duration shared_poll_period = seconds(1);
inline constexpr milliseconds key_life_signing = std::chrono::hours(24); // a new one a day
inline constexpr milliseconds key_life_checking = std::chrono::hours(24 * 31); // tokens are checked for 30 days
inline constexpr std::size_t cluster_keys_max = 128;
inline constexpr unsigned doubtful_polls_borne = 5; // in a row: longer than a node's silence is, before it is held for dead
inline constexpr milliseconds key_clock_slack{60'000}; // that the CA's machine may be ahead of cluster time

class shared_state {
public:
  // `changed` is called after keys or settings differ from before; `domain` is the certificate's.
  shared_state(const clock& clk, scheduler& timers, rng& random, dht::store_api& store, std::string domain,
               std::move_only_function<void()> changed);

  void start();
  // Whether this node owns the keys' record and may write: then it sees to it that there is a fresh key.
  void set_duty(bool owner_and_active) { duty_ = owner_and_active; }
  void poll(); // now, besides the period
  // The time of the latest revocation: the owner of the keys' record makes a new one if none is younger.
  void set_revoked_at(unix_ms t);

  std::shared_ptr<const key_ring> keys() const { return keys_; }
  std::shared_ptr<const roles::settings> config() const { return config_; }
  const std::map<std::string, std::string>& stored() const { return stored_; }
  // Keys and settings were read from a node that may say so at least once: before that nothing can be served.
  bool loaded() const { return keys_loaded_ && settings_loaded_ && !keys_->keys().empty(); }

private:
  void tick();
  void take_keys(const dht::fetch_result& r);
  void take_settings(const dht::fetch_result& r);
  void make_key_if_due();
  void write_back(const dht::fetch_result& firm);

  const clock& clock_;
  scheduler& timers_;
  rng& random_;
  dht::store_api& store_;
  std::string domain_;
  std::move_only_function<void()> changed_;
  std::shared_ptr<const key_ring> keys_ = std::make_shared<key_ring>();
  std::shared_ptr<const roles::settings> config_;
  std::map<std::string, std::string> stored_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0); // answers that come after our end find it gone
  unsigned keys_in_doubt_ = 0, settings_in_doubt_ = 0; // answers in a row
  unix_ms revoked_at_ = 0;
  bool keys_loaded_ = false, settings_loaded_ = false, duty_ = false, making_ = false, writing_back_ = false;
};

ring_key settings_key();
ring_key keys_key();

} // namespace skald::node
