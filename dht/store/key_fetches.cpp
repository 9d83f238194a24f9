#include "dht/store/key_fetches.hpp"

#include "base/metrics.hpp"
#include "dht/store/owner_writes.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

metrics::counter fetched("skald_store_fetches_total", "Keys asked for at other nodes");
metrics::counter doubtful("skald_store_fetches_doubtful_total", "Fetches that ended without a firm answer");
metrics::counter overloads("skald_store_fetches_refused_total", "Fetches refused: too many under way");

} // namespace

void key_fetches::fetch(table t, const ring_key& k, std::move_only_function<void(fetch_result)> done) {
  if (ops_.size() >= fetches_max) {
    overloads.add();
    return done({c_.tables.live(t, k, c_.now()), false});
  }
  fetched.add();
  operation op;
  op.table = t;
  op.key = k;
  op.done = std::move(done);
  take(op, c_.tables.all(t, k));
  finish_if_done(add(std::move(op), c_.ports.time->now() + c_.config.write_deadline));
}

void key_fetches::merge(table t, const ring_key& k, mono_time deadline, std::move_only_function<void(bool)> done) {
  if (ops_.size() >= fetches_max) {
    overloads.add();
    return done(false);
  }
  operation op;
  op.table = t;
  op.key = k;
  op.sources_only = true;
  op.merged = std::move(done);
  finish_if_done(add(std::move(op), deadline));
}

std::uint64_t key_fetches::add(operation op, mono_time deadline) {
  const auto number = c_.next_number++;
  op.deadline = c_.after(deadline - c_.ports.time->now(), [this, number] { finish(number); });
  auto& kept = ops_.emplace(number, std::move(op)).first->second;
  ask(number, kept);
  return number;
}

std::vector<node_id> key_fetches::nodes_for(const operation& op) const {
  const auto p = partition_of(op.key);
  auto nodes = c_.where.sources(p);
  if (op.sources_only) return nodes;
  const auto listed = c_.where.others(p);
  const bool any_serving = std::ranges::any_of(listed, &listed_node::serving);
  for (const auto& n : listed)
    if ((n.serving || !any_serving) && std::ranges::find(nodes, n.id) == nodes.end()) nodes.push_back(n.id);
  return nodes;
}

void key_fetches::ask(std::uint64_t number, operation& op) {
  const auto nodes = nodes_for(op);
  std::erase_if(op.asked, [&](const auto& a) { // struck off, dead or no longer listed: not waited for
    return a.second != reach::answered && std::ranges::find(nodes, a.first) == nodes.end();
  });
  for (const auto& n : nodes) {
    auto& state = op.asked.try_emplace(n, reach::to_send).first->second;
    if (state != reach::to_send) continue;
    if (c_.send(n, store_fetch{number, op.table, op.key}.encode())) state = reach::sent;
    else resend_ = true;
  }
}

void key_fetches::take(operation& op, const std::vector<record>& records) {
  for (const auto& r : records) {
    if (r.table != op.table || r.key != op.key) continue;
    const auto [at, fresh] = op.found.try_emplace(r.item, r);
    if (!fresh && supersedes(r, at->second)) at->second = r;
  }
}

void key_fetches::on_question(const node_id& from, const store_fetch& q) {
  store_records a{q.number, c_.where.serving() && c_.where.settled(partition_of(q.key)), c_.tables.all(q.table, q.key)};
  std::size_t bytes = 0; // a key so full that it does not fit a frame is cut, and says that it is not the whole
  const auto over = std::ranges::find_if(a.records, [&](const record& r) {
    bytes += packed_size(r);
    return bytes > frame_bytes_max - 4096;
  });
  if (over != a.records.end()) {
    a.records.erase(over, a.records.end());
    a.settled = false;
  }
  c_.send(from, a.encode()); // lost: the asker asks again when its link comes back
}

void key_fetches::on_records(const node_id& from, store_records a) {
  const auto found = ops_.find(a.number);
  if (found == ops_.end()) return;
  auto& op = found->second;
  const auto at = op.asked.find(from);
  if (at == op.asked.end()) return;
  at->second = reach::answered;
  op.a_settled_answer = op.a_settled_answer || a.settled;
  take(op, a.records);
  const auto p = partition_of(op.key);
  const bool held_here = std::ranges::any_of(c_.where.sources(p), [&](const node_id& n) { return n == from; });
  if (op.sources_only || held_here) { // listed here, and not merged with that node yet
    for (const auto& r : a.records)
      if (r.table == op.table && r.key == op.key) c_.merge(r);
    flush_soon_();
  }
  finish_if_done(a.number);
}

void key_fetches::finish_if_done(std::uint64_t number) {
  const auto& asked = ops_.at(number).asked;
  if (std::ranges::all_of(asked, [](const auto& a) { return a.second == reach::answered; })) finish(number);
}

// §4: at most w − 1 of those who may hold it are silent (in a base of one or two: none).
bool key_fetches::firm(const operation& op, std::size_t silent) const {
  if (c_.where.owner(op.key) == nullptr) return false; // nobody serves yet
  if (op.asked.empty()) return c_.where.answers_for(op.key);
  if (silent == 0) return true;
  return op.a_settled_answer && c_.where.base_size() >= 3 && silent < c_.config.min_copies;
}

void key_fetches::finish(std::uint64_t number) {
  auto node = ops_.extract(number);
  if (!node) return;
  auto& op = node.mapped();
  c_.ports.timers->cancel(op.deadline);
  const auto silent = static_cast<std::size_t>(
      std::ranges::count_if(op.asked, [](const auto& a) { return a.second != reach::answered; }));
  if (op.merged) return op.merged(silent == 0);
  fetch_result out;
  out.firm = firm(op, silent);
  if (!out.firm) doubtful.add();
  const auto now = c_.now();
  for (auto& [item, r] : op.found)
    if (r.live(now)) out.records.push_back(std::move(r));
  op.done(std::move(out));
}

void key_fetches::on_view() {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, op] : ops_) numbers.push_back(number);
  for (const auto number : numbers) {
    const auto at = ops_.find(number);
    if (at == ops_.end()) continue;
    ask(number, at->second);
    finish_if_done(number);
  }
}

void key_fetches::on_link_down(const node_id& peer) {
  for (auto& [number, op] : ops_)
    if (const auto at = op.asked.find(peer); at != op.asked.end() && at->second == reach::sent) {
      at->second = reach::to_send;
      resend_ = true;
    }
}

void key_fetches::tick() {
  if (!resend_) return;
  resend_ = false;
  for (auto& [number, op] : ops_)
    if (std::ranges::any_of(op.asked, [](const auto& a) { return a.second == reach::to_send; })) ask(number, op);
}

} // namespace skald::dht
