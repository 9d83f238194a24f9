#pragma once
// The store of one node (consistency.md §3, §4): owner-coordinated writes with counted acks,
// copies that merge, a full merge with all other holders whenever a partition's lists change, restart from disk.
//
// Everything runs on the cluster thread but what store_api says otherwise. The composition hands it each new view
// with the rings of the registrar role, every store frame and every link event; and sets its own member active when
// hooks.settled says that a joiner holds everything. It must not be given a view in which this node is alone before it is
// certain that the node may begin a cluster by itself (§4 Beginning).
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "base/scheduler.hpp"
#include "dht/link/channel.hpp"
#include "dht/ring/ring.hpp"
#include "dht/store/placement.hpp"
#include "dht/store/ports.hpp"
#include "dht/store/store.hpp"
#include "dht/view/base.hpp"
#include "dht/view/view.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace skald::dht {

// All outlive the store.
struct store_ports {
  link_port* links = nullptr;
  scheduler* timers = nullptr;      // of the cluster thread
  const clock* time = nullptr;
  table_store* durable = nullptr;   // nullptr: durable tables live in memory only
  log_file* log = nullptr;          // nullptr: no append log
  state_file* memory = nullptr;     // of lists and sources; nullptr: a restart knows no more than its view
  // Runs a function on the cluster thread, later; any thread calls it.
  std::function<void(std::move_only_function<void()>)> post;
  // Cluster time minus the clock's wall time, in ms; any thread. Empty: 0.
  std::function<unix_ms()> cluster_offset{};
  unix_ms offset_ms() const { return cluster_offset ? cluster_offset() : 0; }
};

struct store_config {
  std::size_t min_copies = 2;       // 1..3: nodes that hold a write before it is acknowledged
  duration write_deadline = seconds(2);
  duration zone_wait = milliseconds(100);   // at most longer, for a copy in another zone
  duration resend_after = milliseconds(100);
  duration copy_stalled = seconds(5);       // a merge without an answer for so long is begun again
  duration silence_borne = milliseconds(200); // a reader that has a firm answer waits so long for the rest
  duration ack_wait = seconds(1);           // a copy that has not acknowledged by then is behind
  duration disk_patience = milliseconds(500); // after which an owner that cannot write its disk refuses writes
  duration drop_after = seconds(60);        // what a node is not listed for, once all who are have it
  std::uint64_t memory_budget = 0;          // bytes of records; above 90 % nothing new is taken. 0: no budget
};

// All are called on the cluster thread; each may be empty. They must not destroy the store.
struct store_hooks {
  std::function<void()> settled;    // all sources are merged: a joiner may turn active. May come more than once a view
  std::function<void(const node_id&, const view_stamp&)> view_differs; // a peer refused by another view: compare facts
  std::function<void(const failure&)> disk_failed; // nothing is acknowledged until a later try succeeds
  std::function<void(const record&)> stored;       // a record was taken, from whomever; it must not call the store
};

// Named limits; what goes over them is refused or dropped, and counted.
inline constexpr std::size_t waiting_per_key_max = 16;
inline constexpr std::size_t unfinished_copies_max = 65'536; // writes done but not yet held by all listed nodes
inline constexpr std::size_t fetches_max = 16'384;
inline constexpr std::size_t acks_waiting_max = 65'536; // per owner, while this node's disk cannot be written
inline constexpr std::size_t puts_max = 65'536;
inline constexpr std::size_t copy_page_bytes = 256 << 10;
inline constexpr std::size_t write_frame_bytes = 1 << 20;

struct store_stats {
  std::map<table, std::uint64_t> records; // with tombstones and stubs
  std::uint64_t bytes = 0, log_bytes = 0;
  std::size_t writing = 0, copying = 0;   // unacknowledged; acknowledged but not yet held by all listed nodes
  std::size_t fetching = 0, putting = 0;
  std::size_t unsettled = 0;              // partitions not yet merged with all live sources
  std::size_t incomplete = 0;             // settled ones of which too many sources are dead: no firm "no" (§4)
  std::vector<missing_source> missing;    // nodes still to merge with, or dead
  std::size_t behind = 0;                 // partitions of which a copy lacks something
  std::size_t unlisted = 0;               // partitions that are held, and not for this node to hold any more
  std::uint64_t memory = 0;               // bytes that the records take, about
  bool disk_ok = true;
  bool alone = false;                     // in a base of two, without the other: writes are held once only
};

struct store_context;
struct store_write;
struct store_ack;
class owner_writes;
class key_fetches;
class forwarded_puts;
class merge_asker;
class merge_holder;
class handover;

class store final : public store_api {
public:
  store(const node_id& self, store_ports ports, store_config config = {}, store_hooks hooks = {});
  ~store() override;

  // Once, before the first view: what the disk has.
  outcome<void> load();
  // The peer's whole list of members was taken in (members_exchange or members_reply): what waited for that goes on.
  void facts_exchanged(const node_id& peer);
  // What dead nodes may hold alone is given up; returns whom this node had been missing (consistency.md §4).
  std::vector<node_id> accept_loss();
  void set_view(view_ptr v, ring_pair rings);
  // The base that writes are counted against (consistency.md §3, §7); whenever another one was adopted. Until the first,
  // and with epoch 0, the members alive stand for it.
  void set_base(const dht::base& b);
  void set_min_copies(std::size_t n); // clamped to 1..3
  // This node's view is confirmed till then, at most: from then on no write, and nothing firm (§7, paused). Any thread; to
  // be drawn out with each turn of membership. Never called: it is always confirmed.
  void sure_until(mono_time t);
  bool disk_ok() const;

  // Store frames (types 32..63); others are ignored. False: the body is malformed, the link should be closed.
  bool on_frame(const node_id& from, const frame& f);
  void on_link_up(const node_id& peer);
  void on_link_down(const node_id& peer);

  std::vector<record> read(table t, const ring_key& k) const override;
  bool answers_for(const ring_key& k) const override;
  void write(table t, const ring_key& k, rule r, std::move_only_function<void(write_result)> done) override;
  void fetch(table t, const ring_key& k, std::move_only_function<void(fetch_result)> done) override;
  void put(table t, const ring_key& k, std::vector<change> changes,
           std::move_only_function<void(write_result)> done) override;
  unix_ms cluster_time() const override;

  bool settled() const; // nothing is left to merge
  // For a leaver (draining): every other holder has merged with this node since it began to drain, and every write that
  // it acknowledged is held by all who are listed.
  bool handed_over() const;
  // Handed over, and leaving now: of its lists and sources nothing is kept for the next start, which is a newcomer's. They
  // would name nodes that leave meanwhile, and whose leave nobody remembers then (decision 34).
  void forget_place();

  std::vector<record> page(table t, std::string& cursor, std::size_t limit) const override;
  store_stats stats() const; // cluster thread

private:
  void flush_soon();
  void flush();
  void tick();
  void rewrite_log();
  void tell_settled();
  void note_alone();
  void note_incomplete();
  void save_memory();
  void write_memory(std::string_view content);
  void ask_behind();
  void disk_result(const outcome<void>& r);
  void on_write(const node_id& from, const store_write& w);

  std::unique_ptr<store_context> context_;
  std::unique_ptr<owner_writes> writes_;
  std::unique_ptr<key_fetches> fetches_;
  std::unique_ptr<forwarded_puts> puts_;
  std::unique_ptr<merge_asker> merges_;
  std::unique_ptr<merge_holder> holder_;
  std::unique_ptr<handover> handover_;
  std::map<node_id, store_ack> acks_; // sent when what they answer is on disk
  bool flush_set_ = false;
  bool memory_ok_ = true, place_forgotten_ = false;
  bool settled_set_ = false, alone_ = false;
  std::size_t incomplete_ = 0; // as last told
  unsigned ticks_ = 0;
  mono_time rewrite_after_{};
};

} // namespace skald::dht
