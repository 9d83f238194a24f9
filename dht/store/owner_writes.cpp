#include "dht/store/owner_writes.hpp"

#include "base/metrics.hpp"
#include "dht/store/key_fetches.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter acknowledged("skald_store_writes_acknowledged_total", "Writes held by enough nodes");
metrics::counter not_held("skald_store_writes_not_acknowledged_total", "Writes that were not held within the deadline");
metrics::counter overloads("skald_store_writes_overloaded_total", "Writes refused: too many wait for the key");
metrics::counter clock_ahead("skald_store_writes_ahead_total", "Writes refused: the item's version is too far ahead");
metrics::counter no_room("skald_store_writes_refused_memory_total", "Writes refused: the memory budget is used up");
metrics::counter behind("skald_store_copies_behind_total", "Copies marked as behind: skipped, silent, or cut off");

constexpr milliseconds refused_again_after{500}; // where nobody told that facts were exchanged

} // namespace

bool within_limits(const std::vector<change>& changes) {
  return changes.size() <= changes_max && std::ranges::all_of(changes, [&](const change& c) {
           if (c.item == floor_item && (!c.remove || &c != &changes.front())) return false;
           return c.item.size() <= record_item_bytes_max && c.value.size() <= record_value_bytes_max;
         });
}

void owner_writes::begin(table t, const ring_key& k, rule r, callback done) {
  const key_id key{k, t};
  request req{std::move(r), std::move(done), c_.ports.time->now() + c_.config.write_deadline};
  const auto [at, free] = keys_.try_emplace(key);
  if (free) return start(key, std::move(req));
  if (at->second.waiting.size() >= waiting_per_key_max) {
    overloads.add();
    return req.done(failed(write_error::overloaded));
  }
  at->second.waiting.push_back(std::move(req));
}

void owner_writes::next(const key_id& key) {
  const auto at = keys_.find(key);
  SKALD_ASSERT(at != keys_.end());
  if (at->second.waiting.empty()) {
    keys_.erase(at);
    return;
  }
  auto req = std::move(at->second.waiting.front());
  at->second.waiting.pop_front();
  start(key, std::move(req));
}

void owner_writes::start(const key_id& key, request r) {
  const auto fail = [&](write_error e) {
    r.done(failed(e));
    next(key);
  };
  const auto* owner = c_.where.owner(key.first);
  if (!c_.where.serving()) return fail(write_error::not_active);
  if (owner == nullptr || *owner != c_.self) return fail(write_error::not_owner);
  if (r.deadline <= c_.ports.time->now()) return fail(write_error::not_acknowledged);
  if (c_.where.settled(partition_of(key.first))) return apply(key, std::move(r));
  // §3 1.: first merged from the sources while the partition is not settled.
  const auto deadline = r.deadline;
  fetches_.merge(key.second, key.first, deadline, [this, key, r = std::move(r)](bool complete) mutable {
    const auto* now_owner = c_.where.owner(key.first);
    if (complete && now_owner != nullptr && *now_owner == c_.self) return apply(key, std::move(r));
    r.done(failed(complete ? write_error::not_owner : write_error::not_acknowledged));
    next(key);
  });
}

void owner_writes::apply(const key_id& key, request r) {
  if (!c_.sure()) { // what the rule says of old records would be as firm as a write
    r.done(failed(write_error::not_active));
    return next(key);
  }
  auto current = c_.tables.live(key.second, key.first, c_.now());
  auto changes = r.what(current);
  if (!changes || !within_limits(*changes)) {
    r.done({std::unexpected(write_error::refused), changes ? -1 : changes.error()});
    return next(key);
  }
  if (changes->empty()) {
    r.done({std::move(current), 0});
    return next(key);
  }
  if (c_.disk_stuck()) { // it would be written back in two seconds, and that could not be written either
    not_held.add();
    r.done(failed(write_error::not_acknowledged));
    return next(key);
  }
  if (!room_for(key, *changes, current)) {
    no_room.add();
    r.done(failed(write_error::overloaded));
    return next(key);
  }
  operation op;
  auto records = make_records(key, *changes, op.former);
  if (!records) {
    clock_ahead.add();
    r.done(failed(write_error::not_acknowledged));
    return next(key);
  }
  op.key = key;
  op.records = std::move(*records);
  op.done = std::move(r.done);
  op.number = c_.next_number++;
  if (c_.where.complete(partition_of(key.first), key.second)) op.complete_under = c_.where.stamp();
  op.deadline = c_.after(r.deadline - c_.ports.time->now(), [this, number = op.number] { give_up(number); });
  submit(std::move(op));
}

// Above nine tenths of the budget nothing new is taken that lives in memory alone; what is there already is refreshed.
bool owner_writes::room_for(const key_id& key, const std::vector<change>& changes, const std::vector<record>& current) const {
  const auto budget = c_.config.memory_budget, used = c_.tables.count().memory;
  if (budget == 0 || used <= (is_durable(key.second) ? budget : budget / 10 * 9)) return true;
  return std::ranges::all_of(changes, [&](const change& c) {
    return c.remove || std::ranges::find(current, c.item, &record::item) != current.end();
  });
}

std::optional<std::vector<record>> owner_writes::make_records(const key_id& key, const std::vector<change>& changes,
                                                              std::vector<record>& former) {
  const auto& [k, t] = key;
  std::vector<record> out;
  for (const auto& change : changes) {
    const bool floor = change.item == floor_item;
    auto held = c_.tables.find(t, k, change.item);
    version above = held ? held->version : version{};
    if (floor)
      for (const auto& r : c_.tables.all(t, k)) above = std::max(above, r.version);
    const auto v = c_.clock_of_versions.next(c_.now(), above);
    if (!v) return std::nullopt;
    record r{t, k, change.item, change.remove ? std::string{} : change.value, *v, change.remove ? 0 : change.expires, change.remove};
    // Nothing volatile may outlive what is kept to forbid it.
    const auto longest = c_.now() + longest_grant(t).count();
    if (!is_durable(t) && !r.removed && (r.expires == 0 || r.expires > longest)) r.expires = longest;
    out.push_back(std::move(r));
    if (floor) { // it takes all with it; itself it stays where it is, whatever comes of the write
      former = c_.tables.live(t, k, c_.now());
      continue;
    }
    if (std::ranges::find(former, change.item, &record::item) != former.end()) continue;
    if (!held) held = record{t, k, change.item, {}, {}, 0, true};
    former.push_back(std::move(*held));
  }
  return out;
}

void owner_writes::submit(operation op) {
  for (const auto& r : op.records) c_.merge(r);
  for (const auto& node : c_.where.others(partition_of(op.key.first))) op.targets.push_back({node});
  op.began = c_.ports.time->now();
  fresh_.push_back(op.number);
  uncommitted_.push_back(op.number);
  if (op.answered) ++answered_;
  ops_.emplace(op.number, std::move(op));
  flush_soon_();
}

// §3 3.: w holders, the owner counted. Only serving nodes count, unless the serving list has too few others.
bool owner_writes::enough(const operation& op) const {
  const auto needed = c_.where.needed(partition_of(op.key.first));
  const auto serving = std::ranges::count_if(op.targets, [](const target& t) { return t.node.serving; });
  const bool any_listed = static_cast<std::size_t>(serving) + 1 < needed;
  const auto held = std::ranges::count_if(
      op.targets, [&](const target& t) { return t.state == reach::held && (t.node.serving || any_listed); });
  return op.held_here && static_cast<std::size_t>(held) + 1 >= needed;
}

// A zone that dies in this instant must not take the write along.
bool owner_writes::zone_missing(const operation& op) const {
  bool missing = false;
  for (const auto& t : op.targets) {
    if (!t.node.serving || !t.node.other_zone) continue;
    if (t.state == reach::held) return false;
    if (!t.node.suspect) missing = true;
  }
  return missing;
}

void owner_writes::evaluate(std::uint64_t number) {
  const auto at = ops_.find(number);
  if (at == ops_.end()) return;
  auto& op = at->second;
  if (!op.answered && enough(op)) {
    if (!op.zone_waited && zone_missing(op)) {
      if (op.zone_timer == timer_id::none)
        op.zone_timer = c_.after(c_.config.zone_wait, [this, number] {
          const auto late = ops_.find(number);
          if (late == ops_.end()) return;
          late->second.zone_waited = true;
          evaluate(number);
        });
      return;
    }
    acknowledged.add();
    answer(op, {c_.tables.live(op.key.second, op.key.first, c_.now()), 0});
  }
  const bool everywhere = std::ranges::all_of(op.targets, [](const target& t) { return t.state == reach::held || t.behind; });
  if (op.answered && op.held_here && everywhere) drop(number);
}

void owner_writes::answer(operation& op, write_result result) {
  op.answered = true;
  ++answered_;
  c_.ports.timers->cancel(op.deadline);
  c_.ports.timers->cancel(op.zone_timer);
  auto done = std::move(op.done);
  const auto key = op.key;
  done(std::move(result));
  next(key);
}

void owner_writes::give_up(std::uint64_t number) {
  const auto at = ops_.find(number);
  if (at == ops_.end() || at->second.answered) return;
  not_held.add();
  auto& op = at->second;
  // Before the key's next write begins. But who may lack what others acknowledged would raise what was replaced there
  // above it: the failed write itself may win, the state before it must not (decision 27). A partition is complete with
  // one dead, who may be alive, and acknowledge, on the other side of a cut.
  if (c_.where.base_here() && op.complete_under == c_.where.stamp() && c_.where.complete(partition_of(op.key.first), op.key.second)) write_back(op);
  answer(op, failed(write_error::not_acknowledged));
  drop(number);
}

void owner_writes::write_back(const operation& op) {
  operation back;
  back.key = op.key;
  back.answered = true;
  for (auto r : op.former) {
    // Just above the write that failed, not at the present time: a write that another owner had acknowledged
    // meanwhile is later than both.
    const auto failed_at = std::ranges::find(op.records, r.item, &record::item);
    version v = failed_at != op.records.end() ? failed_at->version : op.records.front().version; // a floor took it along
    ++v.hlc;
    const auto held = c_.tables.find(r.table, r.key, r.item);
    if (held && held->version >= v) continue;
    c_.clock_of_versions.seen(v, c_.now());
    r.version = v;
    back.records.push_back(std::move(r));
  }
  if (back.records.empty()) return;
  back.number = c_.next_number++;
  submit(std::move(back));
}

void owner_writes::drop(std::uint64_t number) {
  const auto at = ops_.find(number);
  if (at == ops_.end()) return;
  if (at->second.answered) --answered_;
  ops_.erase(at);
}

void owner_writes::on_ack(const node_id& from, const store_ack& a) {
  bool differs = false;
  for (const auto& [number, status] : a.entries) {
    const auto at = ops_.find(number);
    if (at == ops_.end()) continue;
    const auto t = std::ranges::find_if(at->second.targets, [&](const target& x) { return x.node.id == from; });
    if (t == at->second.targets.end()) continue; // not listed any more: does not count
    if (status == store_ack::status::held) {
      t->state = reach::held;
      evaluate(number);
      continue;
    }
    t->state = status == store_ack::status::not_owner ? reach::refused : reach::ahead;
    differs = differs || status == store_ack::status::not_owner;
  }
  if (differs && c_.hooks.view_differs) c_.hooks.view_differs(from, a.stamp);
}

bool owner_writes::send_again(operation& op, target& t) {
  if (t.state != reach::refused || t.sent_again) return false;
  const auto* owner = c_.where.owner(op.key.first);
  if (owner == nullptr || *owner != c_.self) return false; // handed on with the view that says so
  t.state = reach::to_send;
  t.sent_again = resend_ = true;
  return true;
}

void owner_writes::on_facts(const node_id& peer) {
  for (auto& [number, op] : ops_)
    for (auto& t : op.targets)
      if (t.node.id == peer) send_again(op, t);
  resend_now();
}

void owner_writes::mark_behind(operation& op, target& t) {
  if (std::exchange(t.behind, true)) return;
  behind.add();
  c_.behind.mark(t.node.id, partition_of(op.key.first));
}

void owner_writes::renew_targets(operation& op) {
  std::vector<target> renewed;
  for (const auto& node : c_.where.others(partition_of(op.key.first))) {
    const auto before = std::ranges::find_if(op.targets, [&](const target& t) { return t.node.id == node.id; });
    auto state = before == op.targets.end() ? reach::to_send : before->state;
    if (state == reach::refused) state = reach::to_send;
    if (state == reach::to_send) resend_ = true;
    renewed.push_back({node, state, false, before != op.targets.end() && before->behind});
  }
  op.targets = std::move(renewed);
}

void owner_writes::on_view() {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, op] : ops_) numbers.push_back(number);
  for (const auto number : numbers) {
    const auto at = ops_.find(number);
    if (at == ops_.end()) continue;
    const auto* owner = c_.where.owner(at->second.key.first);
    if (c_.where.serving() && owner != nullptr && *owner == c_.self) {
      renew_targets(at->second);
      evaluate(number);
      continue;
    }
    // Handed on: whoever owns it now merges with the others before it answers.
    if (!at->second.answered) answer(at->second, failed(write_error::not_owner));
    drop(number);
  }
  resend_now();
}

void owner_writes::resend_now() {
  if (!resend_) return;
  resend_due_ = true;
  flush_soon_();
}

// What was on its way may be lost: the copy is behind. Who waits for its ack has it sent again.
void owner_writes::on_link_down(const node_id& peer) {
  std::vector<std::uint64_t> touched;
  for (auto& [number, op] : ops_)
    for (auto& t : op.targets)
      if (t.node.id == peer && t.state == reach::sent) {
        mark_behind(op, t);
        t.state = reach::to_send;
        resend_ = true;
        touched.push_back(number);
      }
  for (const auto number : touched) evaluate(number);
}

void owner_writes::send_fresh() {
  if (resend_due_) {
    resend_ = resend_due_ = false;
    std::vector<std::uint64_t> all;
    for (const auto& [number, op] : ops_) all.push_back(number);
    fresh_.clear();
    return send(all);
  }
  if (!fresh_.empty()) send(std::exchange(fresh_, {}));
}

void owner_writes::send(const std::vector<std::uint64_t>& numbers) {
  std::map<node_id, outgoing> batches;
  std::string packed;
  for (const auto number : numbers) {
    const auto at = ops_.find(number);
    if (at == ops_.end()) continue;
    packed.clear();
    for (auto& t : at->second.targets) {
      if (t.state != reach::to_send || (at->second.answered && t.behind)) continue;
      if (packed.empty()) store_write::pack_entry(packed, number, at->second.records);
      auto& batch = batches[t.node.id];
      if (batch.count > 0 && batch.entries.size() + packed.size() > write_frame_bytes) ship(t.node.id, batch);
      batch.entries += packed;
      ++batch.count;
      batch.targets.emplace_back(&at->second, &t);
    }
  }
  for (auto& [to, batch] : batches) ship(to, batch);
}

void owner_writes::ship(const node_id& to, outgoing& batch) {
  const bool taken = c_.send(to, store_write::assemble(c_.where.stamp(), batch.count, batch.entries));
  for (auto& [op, t] : batch.targets) {
    if (taken) t->state = reach::sent;
    else mark_behind(*op, *t); // its queue is full: a slow one is never waited for
  }
  if (!taken) resend_ = true;
  batch = {};
}

void owner_writes::committed() {
  for (const auto number : std::exchange(uncommitted_, {})) {
    const auto at = ops_.find(number);
    if (at == ops_.end()) continue;
    at->second.held_here = true;
    evaluate(number);
  }
}

void owner_writes::tick() {
  const auto now = c_.ports.time->now();
  std::vector<std::uint64_t> late;
  for (auto& [number, op] : ops_) { // oldest first
    const auto age = now - op.began;
    if (age < refused_again_after && answered_ <= unfinished_copies_max) break;
    for (auto& t : op.targets) send_again(op, t);
    if (!op.answered || (age < c_.config.ack_wait && answered_ - std::min(answered_, late.size()) <= unfinished_copies_max)) continue;
    for (auto& t : op.targets)
      if (t.state != reach::held) mark_behind(op, t);
    late.push_back(number);
  }
  for (const auto number : late) evaluate(number);
  resend_now();
}

} // namespace skald::dht
