#include "dht/store/journal.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dht/store/messages.hpp"

#include <algorithm>
#include <optional>
#include <span>
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

template <class F>
outcome<void> journal::in_steps(std::vector<record>& rows, F&& write) {
  outcome<void> done;
  auto at = rows.begin();
  while (at != rows.end()) {
    const auto first = at;
    for (std::size_t bytes = 0; at != rows.end() && bytes < journal_step_bytes; ++at) bytes += packed_size(*at);
    if (done = write(std::span<const record>(first, at)); done) continue;
    at = first;
    break;
  }
  rows.erase(rows.begin(), at);
  return done;
}

outcome<void> journal::commit() {
  if (!pending()) return {};
  commits.add();
  if (auto r = in_steps(log_rows_, [this](std::span<const record> rows) { return log_->append(encode_batch(rows)); }); !r) return r;
  if (auto r = in_steps(durable_rows_, [this](std::span<const record> rows) { return durable_->commit(rows); }); !r) return r;
  thin_above_ = journal_rows_min;
  return {};
}

void journal::thin(const memory_tables& live) {
  if (waiting() <= thin_above_) return;
  const auto gone = [&](const record& r) {
    const auto held = live.find(r.table, r.key, r.item);
    return !held || held->version != r.version;
  };
  std::erase_if(log_rows_, gone);
  std::erase_if(durable_rows_, gone);
  thin_above_ = std::max(journal_rows_min, 2 * waiting());
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
