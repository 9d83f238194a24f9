#include "dht/store/forwarded_puts.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/metrics.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter forwarded("skald_store_puts_forwarded_total", "Writes sent to another node that owns the key");
metrics::counter stale("skald_store_puts_stale_total", "Writes from other nodes not done: they came too late");
metrics::counter conflicts("skald_store_puts_conflicting_total", "Conditional writes refused: somebody had changed the record since it was read");
metrics::counter overloads("skald_store_puts_refused_total", "Writes refused: too many on their way to owners");

bool still_holds(const change& c, const std::vector<record>& current) {
  const auto there = std::ranges::find(current, c.item, &record::item);
  if (there == current.end()) return c.made_from == made_from_nothing || c.remove;
  return condition_of(there->value) == c.made_from || (!c.remove && there->value == c.value);
}

rule as_wanted(std::vector<change> changes) {
  return [changes = std::move(changes)](const std::vector<record>& current) -> std::expected<std::vector<change>, int> {
    for (const change& c : changes)
      if (c.made_from != 0 && !still_holds(c, current)) {
        conflicts.add();
        return std::unexpected(put_conflict);
      }
    return changes;
  };
}

// Errors after which another attempt, perhaps elsewhere, makes sense.
bool passing(write_error e) {
  switch (e) {
  case write_error::not_owner:
  case write_error::not_active: return true;
  case write_error::not_acknowledged:
  case write_error::overloaded:
  case write_error::refused: return false;
  }
  return false;
}

} // namespace

std::uint64_t condition_of(std::string_view value) {
  const std::uint64_t h = get_be<std::uint64_t>(std::string_view(crypto::sha256(value)).substr(0, 8));
  return h > made_from_nothing ? h : made_from_nothing + 1;
}

void forwarded_puts::begin(table t, const ring_key& k, std::vector<change> changes, owner_writes::callback done) {
  if (ops_.size() >= puts_max) {
    overloads.add();
    return done({std::unexpected(write_error::overloaded), 0});
  }
  if (!within_limits(changes)) return done({std::unexpected(write_error::refused), -1});
  const auto number = c_.next_number++;
  operation op{t, k, std::move(changes), std::move(done), timer_id::none, std::nullopt};
  op.deadline = c_.after(c_.config.write_deadline,
                         [this, number] { finish(number, {std::unexpected(write_error::not_acknowledged), 0}); });
  ops_.emplace(number, std::move(op));
  attempt(number);
}

void forwarded_puts::attempt(std::uint64_t number) {
  auto& op = ops_.at(number);
  const auto* owner = c_.where.owner(op.key);
  if (owner == nullptr) {
    retry_ = true;
    return;
  }
  op.at = *owner;
  if (*owner == c_.self) {
    const auto guard = std::weak_ptr<int>(c_.alive);
    writes_.begin(op.table, op.key, as_wanted(op.changes), [this, number, guard](write_result r) {
      if (guard.lock()) result_of(number, std::move(r));
    });
    return;
  }
  forwarded.add();
  if (c_.send(*owner, store_put{number, op.table, op.key, op.changes, c_.now()}.encode())) return;
  op.at.reset();
  retry_ = true;
}

void forwarded_puts::result_of(std::uint64_t number, write_result r) {
  const auto at = ops_.find(number);
  if (at == ops_.end()) return;
  if (r.outcome || !passing(r.outcome.error())) return finish(number, std::move(r));
  at->second.at.reset();
  retry_ = true;
}

void forwarded_puts::finish(std::uint64_t number, write_result r) {
  auto node = ops_.extract(number);
  if (!node) return;
  c_.ports.timers->cancel(node.mapped().deadline);
  node.mapped().done(std::move(r));
}

// What lay in a queue while this node, or the network, stood still may have been done by the next owner long ago, and
// undone since: it is not done again.
void forwarded_puts::on_put(const node_id& from, store_put q) {
  if (q.asked != 0 && c_.now() - q.asked > put_age_max.count()) {
    stale.add();
    c_.send(from, store_put_done{q.number, static_cast<std::uint8_t>(write_error::not_active), 0, {}}.encode());
    return;
  }
  const auto guard = std::weak_ptr<int>(c_.alive);
  writes_.begin(q.table, q.key, as_wanted(std::move(q.changes)),
                [this, guard, from, number = q.number](write_result r) {
                  if (!guard.lock()) return;
                  store_put_done a{number, store_put_done::done, r.refusal, {}};
                  if (!r.outcome) a.status = static_cast<std::uint8_t>(r.outcome.error());
                  else a.records = std::move(*r.outcome);
                  std::size_t bytes = 0;
                  for (const auto& x : a.records) bytes += packed_size(x);
                  if (bytes > frame_bytes_max - 4096) a.records.clear();
                  c_.send(from, a.encode());
                });
}

void forwarded_puts::on_done(const node_id& from, store_put_done a) {
  const auto at = ops_.find(a.number);
  if (at == ops_.end() || at->second.at != from) return;
  write_result r{std::move(a.records), static_cast<int>(a.refusal)};
  if (a.status != store_put_done::done) r.outcome = std::unexpected(static_cast<write_error>(a.status));
  result_of(a.number, std::move(r));
}

void forwarded_puts::on_view() {
  std::vector<std::uint64_t> moved;
  for (auto& [number, op] : ops_) {
    const auto* owner = c_.where.owner(op.key);
    if (owner != nullptr && op.at != *owner) moved.push_back(number);
  }
  for (const auto number : moved)
    if (ops_.contains(number)) attempt(number);
}

void forwarded_puts::on_link_down(const node_id& peer) {
  for (auto& [number, op] : ops_)
    if (op.at == peer) {
      op.at.reset();
      retry_ = true;
    }
}

void forwarded_puts::tick() {
  if (!retry_) return;
  retry_ = false;
  std::vector<std::uint64_t> idle;
  for (const auto& [number, op] : ops_)
    if (!op.at) idle.push_back(number);
  for (const auto number : idle)
    if (ops_.contains(number)) attempt(number);
}

} // namespace skald::dht
