#include "dht/store/replicated.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dht/store/context.hpp"
#include "dht/store/copy_merges.hpp"
#include "dht/store/forwarded_puts.hpp"
#include "dht/store/key_fetches.hpp"
#include "dht/store/owner_writes.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter refused_writes("skald_store_copies_refused_total", "Records refused here: the sender does not own the key",
                                R"(reason="not_owner")");
metrics::counter refused_ahead("skald_store_copies_refused_total", "Records refused here: too far ahead of cluster time",
                               R"(reason="ahead")");
metrics::counter malformed("skald_store_frames_malformed_total", "Store frames that could not be read");

metrics::gauge alone_gauge("skald_store_alone", "1: without the base's other member, writes are held by this node only");

constexpr std::size_t swept_keys_per_tick = 2000;
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
  copies_ = std::make_unique<copy_merges>(c, [this] {
    flush();
    return disk_ok_;
  });
  c.after(c.config.resend_after, [this] { tick(); });
}

store::~store() = default;

outcome<void> store::load() {
  auto& c = *context_;
  return c.disk.load([&](record&& r) {
    const auto now = c.now();
    c.clock_of_versions.seen(r.version, now);
    c.tables.merge(std::move(r), now);
  });
}

void store::set_min_copies(std::size_t n) { context_->config.min_copies = std::clamp<std::size_t>(n, 1, 3); }

void store::set_view(view_ptr v, ring_pair rings) {
  context_->where.set(std::move(v), std::move(rings));
  copies_->on_view();
  fetches_->on_view();
  writes_->on_view();
  puts_->on_view();
  if (context_->where.settled()) tell_settled();
  note_alone();
}

void store::set_base(const dht::base& b) {
  context_->where.set_base(b);
  writes_->on_view(); // what is needed may be less now
  note_alone();
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
  case frame_type::store_write: return handle(store_write::decode(f), [&](auto m) { on_write(from, m); });
  case frame_type::store_ack: return handle(store_ack::decode(f), [&](auto m) { writes_->on_ack(from, m); });
  case frame_type::store_fetch: return handle(store_fetch::decode(f), [&](auto m) { fetches_->on_question(from, m); });
  case frame_type::store_records:
    return handle(store_records::decode(f), [&](auto m) { fetches_->on_records(from, std::move(m)); });
  case frame_type::store_put:
    return handle(store_put::decode(f), [&](auto m) { puts_->on_put(from, std::move(m)); });
  case frame_type::store_put_done:
    return handle(store_put_done::decode(f), [&](auto m) { puts_->on_done(from, std::move(m)); });
  case frame_type::store_copy_request:
    return handle(store_copy_request::decode(f), [&](auto m) { copies_->on_request(from, std::move(m)); });
  case frame_type::store_copy:
    return handle(store_copy::decode(f), [&](auto m) {
      if (copies_->on_page(from, m)) tell_settled();
    });
  case frame_type::store_copy_done: return handle(store_copy_done::decode(f), [&](auto) { copies_->on_done(from); });
  case frame_type::hello:
  case frame_type::goodbye:
  case frame_type::link_ping:
  case frame_type::link_pong:
  case frame_type::gossip:
  case frame_type::members_exchange:
  case frame_type::members_reply:
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

void store::on_link_up(const node_id& peer) { copies_->on_link_up(peer); }

void store::on_link_down(const node_id& peer) {
  acks_.erase(peer);
  writes_->on_link_down(peer);
  fetches_->on_link_down(peer);
  puts_->on_link_down(peer);
  copies_->on_link_down(peer);
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
  auto written = c.disk.commit();
  const bool was_ok = std::exchange(disk_ok_, written.has_value());
  if (!written) {
    if (was_ok) log::error("store", written.error().what);
    if (was_ok && c.hooks.disk_failed) c.hooks.disk_failed(written.error());
    return; // the tick tries again; nothing is acknowledged until then
  }
  writes_->committed();
  for (auto& [to, ack] : std::exchange(acks_, {})) {
    if (ack.entries.empty()) continue;
    ack.stamp = c.where.stamp();
    c.send(to, ack.encode()); // lost with its link: the owner sends again
  }
}

void store::tick() {
  auto& c = *context_;
  c.after(c.config.resend_after, [this] { tick(); });
  writes_->tick();
  fetches_->tick();
  puts_->tick();
  copies_->tick();
  c.tables.sweep(c.now(), swept_keys_per_tick);
  if (c.disk.pending() || !disk_ok_) flush_soon();
  auto r = c.disk.rewrite_step(c.tables);
  if (r && ++ticks_ % ticks_per_sync == 0) r = c.disk.sync();
  if (!r) {
    if (disk_ok_) log::error("store", r.error().what);
    if (std::exchange(disk_ok_, false) && c.hooks.disk_failed) c.hooks.disk_failed(r.error());
  }
}

std::vector<record> store::read(table t, const ring_key& k) const {
  return context_->tables.live(t, k, context_->now());
}

bool store::answers_for(const ring_key& k) const { return context_->where.answers_for(k); }

void store::write(table t, const ring_key& k, rule r, std::move_only_function<void(write_result)> done) {
  context_->ports.post([this, guard = std::weak_ptr<int>(context_->alive), t, k, r = std::move(r),
                        done = std::move(done)]() mutable {
    if (guard.lock()) writes_->begin(t, k, std::move(r), std::move(done));
  });
}

void store::fetch(table t, const ring_key& k, std::move_only_function<void(fetch_result)> done) {
  context_->ports.post([this, guard = std::weak_ptr<int>(context_->alive), t, k, done = std::move(done)]() mutable {
    if (!guard.lock()) return;
    if (answers_for(k)) return done({read(t, k), true});
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
bool store::settled() const { return context_->where.settled(); }
bool store::handed_over() const { return copies_->heirs_have_it() && writes_->writing() == 0 && writes_->copying() == 0; }

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
  s.sources = c.where.sources();
  s.disk_ok = disk_ok_;
  s.alone = c.where.alone();
  return s;
}

} // namespace skald::dht
