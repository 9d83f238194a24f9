#include "tests/sim/disk.hpp"

#include "dht/store/messages.hpp"

#include <algorithm>

namespace skald::sim {

outcome<void> disk::commit(std::span<const dht::record> rows) {
  if (full) return no_space();
  blocked += sync_time;
  for (const auto& r : rows) {
    if (r.item == dht::floor_item)
      std::erase_if(rows_, [&](const auto& row) {
        return row.second.table == r.table && row.second.key == r.key && row.second.version.hlc < r.version.hlc;
      });
    rows_.insert_or_assign(std::tuple(r.table, r.key, r.item), r);
  }
  return {};
}

outcome<void> disk::erase(partition first, partition last) {
  if (full) return no_space();
  blocked += sync_time;
  std::erase_if(rows_, [&](const auto& row) {
    const partition p = partition_of(row.second.key);
    return p >= first && p <= last;
  });
  return {};
}

outcome<void> disk::save(std::string_view content) {
  if (full) return no_space();
  blocked += sync_time;
  state_ = content;
  return {};
}

outcome<void> disk::load(const std::function<void(dht::record&&)>& row) {
  for (const auto& [id, r] : rows_) row(dht::record(r));
  return {};
}

outcome<void> disk::append(std::string_view batch) {
  if (full) return no_space();
  log_.emplace_back(batch);
  size_ += batch.size();
  if (next_) next_->emplace_back(batch);
  return {};
}

// By a thread of its own in production: nothing waits for it.
outcome<void> disk::sync() {
  world_.after(sync_time, [this, all = log_.size(), generation = generation_] {
    if (generation == generation_) synced_ = std::max(synced_, all);
  });
  return {};
}

outcome<void> disk::replay(const std::function<void(std::string_view)>& batch) {
  next_.reset();
  for (const auto& b : log_) batch(b);
  return {};
}

outcome<void> disk::begin_rewrite() {
  if (full || never_rewritten) return no_space();
  next_.emplace();
  return {};
}

outcome<void> disk::rewrite(std::string_view batch) {
  if (full || !next_) return no_space();
  next_->emplace_back(batch);
  return {};
}

outcome<void> disk::finish_rewrite() {
  if (full || !next_) return no_space();
  blocked += sync_time;
  log_ = std::move(*next_);
  next_.reset();
  ++generation_;
  synced_ = log_.size(); // fdatasync'd before it replaces the old one
  size_ = 0;
  for (const auto& b : log_) size_ += b.size();
  return {};
}

void disk::crash(crash_kind how) {
  next_.reset();
  ++generation_;
  switch (how) {
  case crash_kind::killed: break;
  case crash_kind::power_lost: log_.resize(synced_); break;
  case crash_kind::torn: // the page cache may have been written as far as it likes: up to somewhere in a batch
    if (log_.size() > synced_) log_.resize(synced_ + world_.random.below(log_.size() - synced_));
    break;
  case crash_kind::disk_gone:
    log_.clear();
    rows_.clear();
    state_.clear();
    memory = {};
    revoked = {};
    break;
  }
  synced_ = log_.size();
  size_ = 0;
  for (const auto& b : log_) size_ += b.size();
}

void disk::copy_from(const disk& other) {
  log_ = other.log_;
  synced_ = log_.size();
  size_ = other.size_;
  ++generation_;
  rows_ = other.rows_;
  state_ = other.state_;
  memory = other.memory;
  revoked = other.revoked;
}

void disk::each_logged(const std::function<void(const dht::record&)>& f) const {
  for (const auto& batch : log_)
    if (const auto records = dht::decode_batch(batch))
      for (const auto& r : *records) f(r);
}

} // namespace skald::sim
