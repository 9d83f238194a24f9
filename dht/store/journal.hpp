#pragma once
// What goes to disk: durable records to the table store, volatile ones to the append log, in batches of one turn of the
// loop (group commit). The log is rewritten in small steps when it is over twice the live size. Cluster thread.
#include "base/clock.hpp"
#include "dht/store/ports.hpp"
#include "dht/store/tables.hpp"

#include <functional>
#include <string>
#include <vector>

namespace skald::dht {

inline constexpr std::uint64_t log_rewrite_bytes_min = 1 << 20; // no rewriting below
inline constexpr std::size_t log_rewrite_records_step = 512;     // records copied per step
inline constexpr std::size_t journal_step_bytes = 256 << 10;     // of rows in one append or transaction, about
inline constexpr std::size_t journal_rows_min = 16'384;          // waiting rows; above, thin() looks for superseded ones

class journal {
public:
  // Either may be nullptr (tests; a node that keeps nothing of that kind). They outlive the journal.
  journal(table_store* durable, log_file* log) : durable_(durable), log_(log) {}

  outcome<void> load(const std::function<void(record&&)>& take); // at start

  void add(const record& r);
  bool pending() const { return !durable_rows_.empty() || !log_rows_.empty(); }
  std::size_t waiting() const { return durable_rows_.size() + log_rows_.size(); }
  // On disk (durable) or handed to the system (volatile) when it returns. After a failure what is not written is kept: try
  // again. In steps, so that a try that fails costs little however much waits.
  outcome<void> commit();
  // While the disk cannot be written, rows gather: those that are not held as they stand here any more are let go, so that
  // there are never more than twice as many as records.
  void thin(const memory_tables& live);
  // The durable rows of partitions that this node drops. What the log has of them goes with its rewriting; until then a
  // restart may bring it back, as it may bring back any old disk.
  outcome<void> erase(const partition_set& parts);

  outcome<void> sync() { return log_ != nullptr ? log_->sync() : outcome<void>{}; } // each second
  // One step of rewriting, if that is due or under way.
  outcome<void> rewrite_step(const memory_tables& live);

  std::uint64_t log_bytes() const { return log_ != nullptr ? log_->size() : 0; }

private:
  outcome<void> copy_some(const memory_tables& live);
  template <class F>
  outcome<void> in_steps(std::vector<record>& rows, F&& write);

  table_store* durable_;
  log_file* log_;
  std::vector<record> durable_rows_, log_rows_;
  std::size_t thin_above_ = journal_rows_min;
  bool rewriting_ = false;
  std::string cursor_;
};

} // namespace skald::dht
