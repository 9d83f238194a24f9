#include "dht/store/replicated.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dht/store/context.hpp"
#include "dht/store/forwarded_puts.hpp"
#include "dht/store/handover.hpp"
#include "dht/store/key_fetches.hpp"
#include "dht/store/merge_asker.hpp"
#include "dht/store/merge_holder.hpp"
#include "dht/store/owner_writes.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter refused_writes("skald_store_copies_refused_total", "Records refused here: the sender does not own the key",
                                R"(reason="not_owner")");
metrics::counter refused_ahead("skald_store_copies_refused_total", "Records refused here: too far ahead of cluster time",
                               R"(reason="ahead")");
metrics::counter acks_dropped("skald_store_acks_dropped_total", "Acknowledgements not sent: this node's disk could not be written for too long");
metrics::counter malformed("skald_store_frames_malformed_total", "Store frames that could not be read");

metrics::gauge unsettled_gauge("skald_store_partitions_unsettled", "Partitions that are not yet merged with all live sources");
metrics::gauge incomplete_gauge("skald_store_partitions_incomplete",
                                "Partitions of which too many possible holders are dead: absence is in doubt");
metrics::gauge behind_gauge("skald_store_partitions_behind", "Partitions of which a copy lacks something that was acknowledged");
metrics::gauge memory_gauge("skald_store_memory_bytes", "Bytes that the records take in memory, about");
metrics::gauge disk_gauge("skald_store_disk_failed", "1: the log or the database cannot be written; nothing is acknowledged");
metrics::gauge alone_gauge("skald_store_alone", "1: without the base's other member, writes are held by this node only");

constexpr std::size_t swept_keys_per_tick = 2000;
constexpr seconds rewrite_pause{10}; // after a rewriting of the log that failed
constexpr unsigned ticks_per_sync = 10; // one second, by the default resend_after

} // namespace

store::store(const node_id& self, store_ports ports, store_config config, store_hooks hooks)
    : context_(std::make_unique<store_context>(self, std::move(ports), config, std::move(hooks))) {
  auto& c = *context_;
  SKALD_ASSERT(c.ports.links && c.ports.timers && c.ports.time && c.ports.post);
  set_min_copies(config.min_copies);
  fetches_ = std::make_unique<key_fetches>(c, [this] { flush_soon(); });
  writes_ = std::make_unique<owner_writes>(c, *fetches_, [this] { flush_soon(); });
  puts_ = std::make_unique<forwarded_puts>(c, *writes_);
  const auto commit = [this] {
    flush();
    return disk_ok();
  };
  merges_ = std::make_unique<merge_asker>(c, commit, [this] { tell_settled(); });
  holder_ = std::make_unique<merge_holder>(c);
  handover_ = std::make_unique<handover>(c, *writes_);
  c.after(c.config.resend_after, [this] { tick(); });
}

store::~store() = default;

outcome<void> store::load() {
  auto& c = *context_;
  if (c.ports.memory != nullptr) {
    const auto saved = c.ports.memory->load();
    if (!saved) return std::unexpected(saved.error());
    // Without it the base tells whom to ask, as it does for a new node.
    if (!saved->empty() && !c.where.restore(*saved)) log::error("store", "the saved lists and sources are unreadable and are left out");
  }
  // Nothing expires here: this node's clock may be wrong, and the cluster's time is not known yet.
  return c.disk.load([&](record&& r) {
    c.clock_of_versions.seen(r.version, c.now());
    c.tables.merge(std::move(r), 0);
  });
}

void store::set_min_copies(std::size_t n) { context_->where.set_min_copies(std::clamp<std::size_t>(n, 1, 3), context_->now()); }

void store::set_view(view_ptr v, ring_pair rings) {
  auto& c = *context_;
  const bool lists_changed = c.where.set(std::move(v), std::move(rings), c.now());
  c.behind.keep_only([&](const node_id& n, partition p) { return c.where.listed(n, p); });
  save_memory();
  holder_->on_view();
  merges_->on_view();
  handover_->on_view(lists_changed);
  if (lists_changed) ask_behind();
  fetches_->on_view();
  writes_->on_view();
  puts_->on_view();
  if (c.where.settled()) tell_settled();
  note_alone();
}

void store::set_base(const dht::base& b) {
  context_->where.set_base(b, context_->now());
  if (!context_->where.current()) return;
  save_memory();
  merges_->on_view();
  writes_->on_view(); // what is needed may be less now
  if (context_->where.settled()) tell_settled();
  note_alone();
}

void store::facts_exchanged(const node_id& peer) {
  holder_->on_facts(peer);
  merges_->on_facts(peer);
  writes_->on_facts(peer);
}

std::vector<node_id> store::accept_loss() {
  auto given_up = context_->where.accept_loss(context_->now());
  save_memory();
  return given_up;
}

// A failure does not stop anything: a restart asks more nodes than it had to.
void store::save_memory() {
  auto& c = *context_;
  if (c.ports.memory == nullptr || place_forgotten_ || !c.where.changed()) return;
  write_memory(c.where.save());
}

void store::write_memory(std::string_view content) {
  const auto saved = context_->ports.memory->save(content);
  if (!saved && std::exchange(memory_ok_, false)) log::error("store", saved.error().what);
  if (saved) memory_ok_ = true;
}

void store::forget_place() {
  place_forgotten_ = true;
  if (context_->ports.memory != nullptr) write_memory({});
}

void store::note_incomplete() {
  auto& c = *context_;
  const auto now = c.where.incomplete_count();
  unsettled_gauge.set(static_cast<std::int64_t>(c.where.unsettled_count()));
  incomplete_gauge.set(static_cast<std::int64_t>(now));
  behind_gauge.set(static_cast<std::int64_t>(c.behind.count()));
  memory_gauge.set(static_cast<std::int64_t>(c.tables.count().memory));
  const auto before = std::exchange(incomplete_, now);
  if (now > 0 && before == 0)
    log::warning("store", std::to_string(now) + " partitions are incomplete: nodes that may hold more of them are dead; see: skald partitions");
  if (now == 0 && before > 0) log::info("store", "all partitions are complete again");
}

// Who lacks something is asked to merge, until it has.
void store::ask_behind() {
  auto& c = *context_;
  for (const auto& copy : c.behind.copies())
    if (c.where.alive(copy)) c.send(copy, store_merge_please{c.where.stamp(), *c.behind.of(copy)}.encode());
}

void store::note_alone() {
  const bool now = context_->where.alone();
  alone_gauge.set(now ? 1 : 0);
  if (now == std::exchange(alone_, now)) return;
  if (now) log::warning("store", "this node goes on alone: what it acknowledges is held by no other until another is back");
  else log::info("store", "this node is not alone any more");
}

void store::tell_settled() {
  if (settled_set_ || !context_->hooks.settled) return;
  settled_set_ = true;
  context_->after(duration{0}, [this] {
    settled_set_ = false;
    if (context_->where.current() && context_->where.settled()) context_->hooks.settled();
  });
}

bool store::on_frame(const node_id& from, const frame& f) {
  const auto handle = [&](auto decoded, auto&& take) {
    if (!decoded) {
      malformed.add();
      return false;
    }
    take(std::move(*decoded));
    return true;
  };
  switch (f.type) {
  case frame_type::store_write: return handle(store_write::decode(f), [&](const auto& m) { on_write(from, m); });
  case frame_type::store_ack: return handle(store_ack::decode(f), [&](const auto& m) { writes_->on_ack(from, m); });
  case frame_type::store_fetch: return handle(store_fetch::decode(f), [&](const auto& m) { fetches_->on_question(from, m); });
  case frame_type::store_records:
    return handle(store_records::decode(f), [&](auto m) { fetches_->on_records(from, std::move(m)); });
  case frame_type::store_put:
    return handle(store_put::decode(f), [&](auto m) { puts_->on_put(from, std::move(m)); });
  case frame_type::store_put_done:
    return handle(store_put_done::decode(f), [&](auto m) { puts_->on_done(from, std::move(m)); });
  case frame_type::store_copy_request:
    return handle(store_copy_request::decode(f), [&](auto m) { holder_->on_request(from, std::move(m)); });
  case frame_type::store_copy: return handle(store_copy::decode(f), [&](const auto& m) { merges_->on_page(from, m); });
  case frame_type::store_copy_done: return handle(store_copy_done::decode(f), [&](const auto& m) {
      holder_->on_done(from, m);
      handover_->on_merged(from);
    });
  case frame_type::store_compare:
    return handle(store_compare::decode(f), [&](const auto& m) { holder_->on_compare(from, m); });
  case frame_type::store_compared:
    return handle(store_compared::decode(f), [&](const auto& m) { merges_->on_compared(from, m); });
  case frame_type::store_merge_please:
    return handle(store_merge_please::decode(f), [&](const auto& m) { merges_->please(from, m.parts); });
  case frame_type::store_state: return handle(store_state::decode(f), [&](const auto& m) { handover_->on_state(from, m); });
  case frame_type::hello:
  case frame_type::goodbye:
  case frame_type::link_ping:
  case frame_type::link_pong:
  case frame_type::gossip:
  case frame_type::members_exchange:
  case frame_type::members_reply:
  case frame_type::seen_elsewhere:
  case frame_type::revocations:
  case frame_type::body_request:
  case frame_type::body_reply:
  case frame_type::control_request:
  case frame_type::control_reply: return true;
  }
  return true;
}

// consistency.md §3, "an ack counts": only the partition's owner, in this node's own view, may have something stored.
void store::on_write(const node_id& from, const store_write& w) {
  auto& c = *context_;
  auto& ack = acks_[from];
  // The owner has long given up, or holds this copy for behind.
  if (!disk_ok() && ack.entries.size() >= acks_waiting_max) {
    acks_dropped.add(ack.entries.size());
    ack.entries.clear();
  }
  for (const auto& entry : w.entries) {
    const auto* owner = c.where.owner(entry.records.front().key);
    auto status = store_ack::status::held;
    if (owner == nullptr || *owner != from) {
      status = store_ack::status::not_owner;
      refused_writes.add();
    } else if (std::ranges::any_of(entry.records, [&](const record& r) { return too_far_ahead(r.version, c.now()); })) {
      status = store_ack::status::refused; // §5
      refused_ahead.add();
    } else {
      for (const auto& r : entry.records) c.merge(r);
    }
    ack.entries.emplace_back(entry.number, status);
  }
  const bool differs = std::ranges::any_of(
      ack.entries, [](const auto& e) { return e.second == store_ack::status::not_owner; });
  if (differs && c.hooks.view_differs) c.hooks.view_differs(from, w.stamp);
  flush_soon();
}

void store::on_link_up(const node_id& peer) { merges_->on_link_up(peer); }

void store::on_link_down(const node_id& peer) {
  acks_.erase(peer);
  writes_->on_link_down(peer);
  fetches_->on_link_down(peer);
  puts_->on_link_down(peer);
  merges_->on_link_down(peer);
  holder_->on_link_down(peer);
}

// One batch per turn of the loop: timers run after what arrived.
void store::flush_soon() {
  if (flush_set_) return;
  flush_set_ = true;
  context_->after(duration{0}, [this] { flush(); });
}

void store::flush() {
  flush_set_ = false;
  auto& c = *context_;
  writes_->send_fresh();
  disk_result(c.disk.commit());
  if (!disk_ok()) return; // the tick tries again; nothing is acknowledged until then
  writes_->committed();
  for (auto& [to, ack] : std::exchange(acks_, {})) {
    if (ack.entries.empty()) continue;
    ack.stamp = c.where.stamp();
    c.send(to, ack.encode()); // lost with its link: the owner sends again
  }
}

// Told once, until it works again.
void store::disk_result(const outcome<void>& r) {
  auto& since = context_->disk_failed_since;
  const bool was_ok = !since;
  if (r) since.reset();
  else if (was_ok) since = context_->ports.time->now();
  disk_gauge.set(r ? 0 : 1);
  if (r && !was_ok) log::info("store", "the disk can be written again");
  if (r || !was_ok) return;
  log::error("store", r.error().what + "; until it can be written nothing is acknowledged");
  if (context_->hooks.disk_failed) context_->hooks.disk_failed(r.error());
}

void store::tick() {
  auto& c = *context_;
  c.after(c.config.resend_after, [this] { tick(); });
  writes_->tick();
  fetches_->tick();
  puts_->tick();
  merges_->tick();
  handover_->tick();
  if (c.where.serving()) c.tables.sweep(c.now(), swept_keys_per_tick); // before, the time may be this node's own
  if (c.disk.pending() || !disk_ok()) flush_soon();
  if (!disk_ok()) c.disk.thin(c.tables);
  rewrite_log();
  if (++ticks_ % ticks_per_sync == 0) {
    if (const auto r = c.disk.sync(); !r) disk_result(r);
    c.where.turn(c.now());
    save_memory();
    ask_behind();
    note_incomplete();
  }
}

// A log that cannot be made smaller can still be written: that goes on, and the rewriting is begun again, but not at once.
void store::rewrite_log() {
  auto& c = *context_;
  if (c.ports.time->now() < rewrite_after_) return;
  const auto r = c.disk.rewrite_step(c.tables);
  if (r) return;
  rewrite_after_ = c.ports.time->now() + rewrite_pause;
  log::error("store", r.error().what + "; the log is not made smaller");
}

std::vector<record> store::read(table t, const ring_key& k) const {
  return context_->tables.live(t, k, context_->now());
}

void store::sure_until(mono_time t) { context_->sure_until.store(t, std::memory_order_relaxed); }
bool store::answers_for(const ring_key& k) const { return context_->sure() && context_->where.answers_for(k); }

void store::write(table t, const ring_key& k, rule r, std::move_only_function<void(write_result)> done) {
  context_->ports.post([this, guard = std::weak_ptr<int>(context_->alive), t, k, r = std::move(r),
                        done = std::move(done)]() mutable {
    if (!guard.lock()) return;
    writes_->begin(t, k, std::move(r), std::move(done));
  });
}

void store::fetch(table t, const ring_key& k, std::move_only_function<void(fetch_result)> done) {
  context_->ports.post([this, guard = std::weak_ptr<int>(context_->alive), t, k, done = std::move(done)]() mutable {
    if (!guard.lock()) return;
    if (context_->sure() && context_->where.answers_for(t, k)) return done({read(t, k), true});
    fetches_->fetch(t, k, std::move(done));
  });
}

void store::put(table t, const ring_key& k, std::vector<change> changes,
                std::move_only_function<void(write_result)> done) {
  context_->ports.post([this, guard = std::weak_ptr<int>(context_->alive), t, k, changes = std::move(changes),
                        done = std::move(done)]() mutable {
    if (guard.lock()) puts_->begin(t, k, std::move(changes), std::move(done));
  });
}

unix_ms store::cluster_time() const { return context_->now(); }
bool store::disk_ok() const { return !context_->disk_failed_since; }
bool store::settled() const { return context_->where.settled(); }
bool store::handed_over() const { return handover_->handed_over(); }

std::vector<record> store::page(table t, std::string& cursor, std::size_t limit) const {
  const auto now = context_->now();
  auto out = context_->tables.page(t, cursor, limit, [this](const ring_key& k) { return context_->where.owner_here(k); });
  std::erase_if(out, [&](const record& r) { return !r.live(now); });
  return out;
}

store_stats store::stats() const {
  const auto& c = *context_;
  const auto counted = c.tables.count();
  store_stats s;
  s.records = counted.records;
  s.bytes = counted.bytes;
  s.log_bytes = c.disk.log_bytes();
  s.writing = writes_->writing();
  s.copying = writes_->copying();
  s.fetching = fetches_->size();
  s.putting = puts_->size();
  s.unsettled = c.where.unsettled_count();
  s.incomplete = c.where.incomplete_count();
  s.missing = c.where.missing();
  s.behind = c.behind.count();
  s.unlisted = (c.tables.partitions() - c.where.listed()).count();
  s.memory = counted.memory;
  s.disk_ok = disk_ok();
  s.alone = c.where.alone();
  return s;
}

} // namespace skald::dht
