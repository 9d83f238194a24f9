#pragma once
// A machine's disk: what survives its process, and what does not survive its power. Stands in for node/'s append log,
// SQLite file and memory file, behind the store's own ports.
#include "dht/store/ports.hpp"
#include "dht/view/base.hpp"
#include "tests/sim/world.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace skald::sim {

// What a node writes of itself for its next start (cluster.json).
struct node_memory {
  std::uint64_t life = 0, version = 0;
  dht::base base;
  std::vector<int> peers; // machines
};

// Whose certificates the operator has revoked; a higher number is newer (a CRL's, a time in ms).
struct revocation_list {
  std::uint64_t number = 0;
  std::set<node_id> named;
};

std::string encode(const revocation_list& list);

enum class crash_kind : std::uint8_t {
  killed,     // the process alone: what was written is there
  power_lost, // all behind the last fdatasync is lost
  torn,       // the same, and the last batch that was kept is half there
  disk_gone,  // nothing is there
};

class disk final : public dht::table_store, public dht::log_file, public dht::state_file {
public:
  explicit disk(world& w) : world_(w) {}

  // dht::table_store
  outcome<void> commit(std::span<const dht::record> rows) override;
  outcome<void> erase(partition first, partition last) override;
  outcome<void> load(const std::function<void(dht::record&&)>& row) override;
  // dht::state_file
  outcome<void> save(std::string_view content) override;
  outcome<std::string> load() override { return state_; }
  // dht::log_file
  outcome<void> append(std::string_view batch) override;
  outcome<void> sync() override;
  std::uint64_t size() const override { return size_; }
  outcome<void> replay(const std::function<void(std::string_view)>& batch) override;
  outcome<void> begin_rewrite() override;
  outcome<void> rewrite(std::string_view batch) override;
  outcome<void> finish_rewrite() override;

  void crash(crash_kind how);
  void copy_from(const disk& other); // what a running process there has written till now
  void each_logged(const std::function<void(const dht::record&)>& f) const;

  node_memory memory;
  revocation_list revoked; // revoked.crl
  bool full = false;
  bool never_rewritten = false;           // a planted bug
  duration sync_time = milliseconds(5);   // of fdatasync, and of a commit
  duration blocked{0};                    // for how long calls have stood still since this was last set to 0

private:
  std::unexpected<failure> no_space() const { return std::unexpected(failure{"simulated disk: no space left"}); }

  world& world_;
  std::vector<std::string> log_;
  std::size_t synced_ = 0; // batches of log_
  std::uint64_t size_ = 0, generation_ = 0;
  std::optional<std::vector<std::string>> next_;
  std::map<std::tuple<dht::table, ring_key, std::string>, dht::record> rows_;
  std::string state_;
};

} // namespace skald::sim
