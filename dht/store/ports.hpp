#pragma once
// What the store stands on. node/ has the real ones (SQLite, files), the tests fakes. All are called on the cluster
// thread only, and may block for as long as a disk does.
#include "base/errors.hpp"
#include "dht/store/store.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace skald::dht {

// Port: durable tables. One row per (table, key, item); the store has already decided that a row replaces the former.
class table_store {
public:
  virtual ~table_store() = default;
  // All or nothing, and on disk when it returns: an acknowledgement follows. A failure may be tried again. With a floor
  // (item floor_item) go all older rows of its table and key.
  virtual outcome<void> commit(std::span<const record> rows) = 0;
  // All rows of the partitions from `first` to `last`, both included; on disk when it returns.
  virtual outcome<void> erase(partition first, partition last) = 0;
  // Every row, at start.
  virtual outcome<void> load(const std::function<void(record&&)>& row) = 0;
};

// Port: a small file that is written whole: what the store has to know of its own past besides the records.
class state_file {
public:
  virtual ~state_file() = default;
  // On disk when it returns, the former content or this one, never a part.
  virtual outcome<void> save(std::string_view content) = 0;
  virtual outcome<std::string> load() = 0; // empty: there is none
};

// Port: the append log of volatile tables. A batch is bytes, never empty; batches are independent and may be replayed in
// any order, twice, or not at all behind a torn end.
class log_file {
public:
  virtual ~log_file() = default;
  // Handed to the operating system when it returns: a killed process loses nothing.
  virtual outcome<void> append(std::string_view batch) = 0;
  // Starts (or does) an fdatasync. A failure that comes later is told by the next append.
  virtual outcome<void> sync() = 0;
  virtual std::uint64_t size() const = 0; // bytes

  // Every whole batch, at start, before the first append. A damaged end is cut off, not an error.
  virtual outcome<void> replay(const std::function<void(std::string_view)>& batch) = 0;

  // The log is rewritten in steps, so that nothing stalls: what is appended between begin and finish goes into both
  // files; rewrite() adds what is live to the new one; finish replaces the old one. A failed step leaves the old one.
  virtual outcome<void> begin_rewrite() = 0;
  virtual outcome<void> rewrite(std::string_view batch) = 0;
  virtual outcome<void> finish_rewrite() = 0;
};

} // namespace skald::dht
