#pragma once
// What the parts of one store share. Private to dht/store. Cluster thread.
#include "base/scheduler.hpp"
#include "dht/link/channel.hpp"
#include "dht/store/hlc.hpp"
#include "dht/store/journal.hpp"
#include "dht/store/placement.hpp"
#include "dht/store/replicated.hpp"
#include "dht/store/tables.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

namespace skald::dht {

struct store_context {
  store_context(const node_id& id, store_ports p, store_config c, store_hooks h)
      : self(id), ports(std::move(p)), config(c), hooks(std::move(h)), clock_of_versions(id.head()), where(id),
        disk(ports.durable, ports.log), next_number(static_cast<std::uint64_t>(ports.time->wall()) << 20) {}

  node_id self;
  store_ports ports;
  store_config config;
  store_hooks hooks;
  hybrid_clock clock_of_versions;
  placement where;
  behind_marks behind;
  memory_tables tables;
  journal disk;
  std::optional<mono_time> disk_failed_since; // log or database; empty: they can be written
  std::uint64_t next_number; // of requests: above those of earlier lives
  std::shared_ptr<int> alive = std::make_shared<int>();

  // Till then this node's view is confirmed (§7, paused). A moment, no flag: who slept answers nothing firm even if its
  // first turn after that is an answer. Any thread reads it.
  std::atomic<mono_time> sure_until{mono_time::max()};

  unix_ms now() const { return ports.time->wall() + ports.offset_ms(); }
  bool sure() const { return ports.time->now() < sure_until.load(std::memory_order_relaxed); }

  // For so long that what waits for it is given up: a failure of a moment is not seen by those who write.
  bool disk_stuck() const { return disk_failed_since && ports.time->now() - *disk_failed_since >= config.disk_patience; }

  // Runs after `d`, unless the store is gone by then.
  template <class F>
  timer_id after(duration d, F f) {
    return ports.timers->at(ports.time->now() + d,
                            [guard = std::weak_ptr<int>(alive), f = std::move(f)]() mutable {
                              if (guard.lock()) f();
                            });
  }

  bool send(const node_id& to, frame f) { return ports.links->send(to, std::move(f)); }

  // Merges into memory and the next batch for the disk. True: it was news.
  bool merge(const record& r) {
    const auto at = now();
    clock_of_versions.seen(r.version, at);
    // Before this node serves, its time may be its own: by that nothing expires.
    if (!tables.merge(r, where.serving() ? at : 0)) return false;
    disk.add(r);
    if (hooks.stored) hooks.stored(r);
    return true;
  }
};

} // namespace skald::dht
