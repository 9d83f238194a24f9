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
  op.began = c_.ports.time->now();
  op.deadline = c_.after(deadline - op.began, [this, number] { finish(number); });
  auto& kept = ops_.emplace(number, std::move(op)).first->second;
  ask(number, kept);
  return number;
}

std::set<node_id> key_fetches::may_hold(const operation& op) const {
  const auto p = partition_of(op.key);
  const auto sources = c_.where.sources(p);
  std::set<node_id> out(sources.begin(), sources.end());
  if (op.sources_only) return out;
  for (const auto& n : c_.where.others(p)) out.insert(n.id);
  out.insert(op.named.begin(), op.named.end());
  out.erase(c_.self);
  return out;
}

void key_fetches::ask(std::uint64_t number, operation& op) {
  const auto nodes = may_hold(op);
  std::erase_if(op.asked, [&](const auto& a) { // struck off, dead or no longer listed: not waited for
    return a.second != reach::answered && (!nodes.contains(a.first) || !c_.where.alive(a.first));
  });
  for (const auto& n : nodes) {
    if (!c_.where.alive(n)) continue;
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
  store_records a{q.number, c_.sure() && c_.where.answers_for(q.table, q.key), c_.tables.all(q.table, q.key), c_.where.stamp(),
                  c_.where.sources(partition_of(q.key))};
  std::size_t bytes = 0; // a key so full that it does not fit a frame is cut, and who sends it says that it has more
  const auto over = std::ranges::find_if(a.records, [&](const record& r) {
    bytes += packed_size(r);
    return bytes > frame_bytes_max - 65'536;
  });
  if (over != a.records.end()) {
    a.records.erase(over, a.records.end());
    a.settled = false;
    a.sources.push_back(c_.self);
  }
  c_.send(from, a.encode()); // lost: the asker asks again when its link comes back
}

void key_fetches::on_records(const node_id& from, store_records a) {
  const auto found = ops_.find(a.number);
  if (found == ops_.end()) return;
  auto& op = found->second;
  const auto at = op.asked.find(from);
  if (at == op.asked.end()) return;
  at->second = std::ranges::find(a.sources, from) == a.sources.end() ? reach::answered : reach::partly;
  const auto* owner = c_.where.owner(op.key);
  op.complete = op.complete || (a.settled && a.stamp == c_.where.stamp() && owner != nullptr && *owner == from);
  take(op, a.records);
  const auto p = partition_of(op.key);
  const auto sources = c_.where.sources(p);
  if (op.sources_only || std::ranges::find(sources, from) != sources.end()) { // listed here, not merged with that node yet
    for (const auto& r : a.records)
      if (r.table == op.table && r.key == op.key) c_.merge(r);
    flush_soon_();
  }
  if (!op.sources_only && !op.complete) {
    const auto before = op.named.size();
    op.named.insert(a.sources.begin(), a.sources.end());
    if (op.named.size() != before) ask(a.number, op);
  }
  finish_if_done(a.number);
}

void key_fetches::finish_if_done(std::uint64_t number) {
  const auto& op = ops_.at(number);
  const bool all = std::ranges::all_of(op.asked, [](const auto& a) { return a.second == reach::answered || a.second == reach::partly; });
  if (all || (op.complete && !op.sources_only)) finish(number);
}

// §4: at most w − 1 of those who may hold it are silent (in a base of one or two: none), counted with the lists at the end.
bool key_fetches::firm(const operation& op) const {
  if (c_.where.owner(op.key) == nullptr) return false; // nobody serves yet
  if (op.complete) return true;
  const auto nodes = may_hold(op);
  if (nodes.empty()) return c_.where.answers_for(op.table, op.key);
  const auto silent = static_cast<std::size_t>(std::ranges::count_if(nodes, [&](const node_id& n) {
    const auto at = op.asked.find(n);
    return at == op.asked.end() || at->second != reach::answered;
  }));
  return silent <= c_.where.silent_max();
}

void key_fetches::finish(std::uint64_t number) {
  auto node = ops_.extract(number);
  if (!node) return;
  auto& op = node.mapped();
  c_.ports.timers->cancel(op.deadline);
  if (op.merged)
    return op.merged(std::ranges::all_of(op.asked, [](const auto& a) { return a.second == reach::answered; }));
  fetch_result out;
  out.firm = firm(op) && c_.sure();
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
  // One that is silent for a while is not waited for if the answer is firm without it.
  const auto now = c_.ports.time->now();
  std::vector<std::uint64_t> enough;
  for (const auto& [number, op] : ops_)
    if (!op.sources_only && now - op.began >= c_.config.silence_borne && firm(op)) enough.push_back(number);
  for (const auto number : enough) finish(number);
  if (!resend_) return;
  resend_ = false;
  for (auto& [number, op] : ops_)
    if (std::ranges::any_of(op.asked, [](const auto& a) { return a.second == reach::to_send; })) ask(number, op);
}

} // namespace skald::dht
