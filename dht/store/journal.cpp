#include "dht/store/journal.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dht/store/messages.hpp"

#include <optional>
#include <utility>

namespace skald::dht {
namespace {

metrics::counter commits("skald_store_commits_total", "Batches written to disk");
metrics::counter unreadable("skald_store_log_batches_unreadable_total", "Batches of the append log that could not be read");

} // namespace

outcome<void> journal::load(const std::function<void(record&&)>& take) {
  if (durable_ != nullptr)
    if (auto r = durable_->load(take); !r) return r;
  if (log_ == nullptr) return {};
  return log_->replay([&](std::string_view batch) {
    auto records = decode_batch(batch);
    if (!records) {
      unreadable.add();
      log::warning("store", "a batch of the append log is unreadable and was left out");
      return;
    }
    for (auto& r : *records) take(std::move(r));
  });
}

void journal::add(const record& r) {
  if (is_durable(r.table)) {
    if (durable_ != nullptr) durable_rows_.push_back(r);
  } else if (log_ != nullptr) {
    log_rows_.push_back(r);
  }
}

outcome<void> journal::commit() {
  if (!pending()) return {};
  commits.add();
  if (!log_rows_.empty()) {
    if (auto r = log_->append(encode_batch(log_rows_)); !r) return r;
    log_rows_.clear();
  }
  if (!durable_rows_.empty()) {
    if (auto r = durable_->commit(durable_rows_); !r) return r;
    durable_rows_.clear();
  }
  return {};
}

outcome<void> journal::erase(const partition_set& parts) {
  if (durable_ == nullptr) return {};
  outcome<void> done;
  std::optional<partition> first, last;
  const auto run = [&] {
    if (first && done) done = durable_->erase(*first, *last);
  };
  parts.for_each([&](partition p) {
    if (last && static_cast<std::uint32_t>(p) == static_cast<std::uint32_t>(*last) + 1) {
      last = p;
      return;
    }
    run();
    first = last = p;
  });
  run();
  return done;
}

outcome<void> journal::rewrite_step(const memory_tables& live) {
  if (log_ == nullptr) return {};
  if (!rewriting_) {
    const auto size = log_->size();
    if (size < log_rewrite_bytes_min || size <= 2 * live.count().volatile_bytes) return {};
    if (auto r = log_->begin_rewrite(); !r) return r;
    rewriting_ = true;
    cursor_.clear();
  }
  auto r = copy_some(live);
  if (!r) rewriting_ = false; // the old log is still whole; begin again at the next step
  return r;
}

outcome<void> journal::copy_some(const memory_tables& live) {
  auto records = live.page(std::nullopt, cursor_, log_rewrite_records_step);
  std::erase_if(records, [](const record& r) { return is_durable(r.table); });
  if (!records.empty())
    if (auto r = log_->rewrite(encode_batch(records)); !r) return r;
  if (!cursor_.empty()) return {};
  rewriting_ = false;
  return log_->finish_rewrite();
}

} // namespace skald::dht
