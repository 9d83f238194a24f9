#include "dnsupdate/dead_names.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dht/ring/ring.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <utility>

namespace skald::dnsupdate {
namespace {

metrics::gauge known_gauge("skald_dns_dead_names", "Names of nodes that died or left, which DNS leads to others.");
metrics::counter dropped("skald_dns_dead_names_dropped_total", "Names of dead nodes given up before their time, for there were too many.");

constexpr std::string_view item_prefix = "dead."; // of a record's item; the name follows

std::optional<unix_ms> time_in(std::string_view value) {
  unix_ms t = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), t);
  if (error != std::errc() || end != value.data() + value.size() || t <= 0) return std::nullopt;
  return t;
}

std::map<std::string, std::string> entries_in(const std::vector<dht::record>& records) {
  std::map<std::string, std::string> out;
  for (const dht::record& r : records)
    if (r.item.size() > item_prefix.size() && r.item.starts_with(item_prefix) && time_in(r.value)) out[r.item.substr(item_prefix.size())] = r.value;
  return out;
}

} // namespace

ring_key zone_key(std::string_view domain) { return dht::key_of_name("zone:" + std::string(domain)); }

dead_names::dead_names(std::function<dht::store_api&()> store, std::string domain, std::function<void()> news)
    : store_(std::move(store)), key_(zone_key(domain)), news_(std::move(news)) {}

dead_names::~dead_names() { *alive_ = false; }

void dead_names::observe(const dht::view& v, duty d, mono_time now) {
  inside_ = true;
  read(v, d, now); // an owner has its answer at once
  const unix_ms at = store_().cluster_time();
  learn(v, at);
  let_go(d, at, now);
  if (d.keeps && known_) write();
  sort_out(at);
  inside_ = false;
}

// ---- what the cluster keeps

void dead_names::read(const dht::view& v, duty d, mono_time now) {
  const bool begins = d.keeps && !std::exchange(kept_, d.keeps);
  kept_ = d.keeps;
  const duration pause = known_ && !again_ ? dead_names_read_every : dead_names_read_again;
  if (reading_ || !v.me().serving() || (read_at_ && !begins && now - *read_at_ < pause)) return;
  read_at_ = now;
  reading_ = true;
  again_ = false;
  store_().fetch(dht::table::settings, key_, [this, alive = alive_](const dht::fetch_result& r) {
    if (!*alive) return;
    reading_ = false;
    take(r);
    if (!inside_) news_();
  });
}

// An answer in doubt may lack something: what it has is taken, what was known stays.
void dead_names::take(const dht::fetch_result& r) {
  auto found = entries_in(r.records);
  doubtful_ = r.firm ? 0 : doubtful_ + 1;
  if (r.firm) stored_ = std::move(found);
  else
    for (auto& [name, value] : found) stored_[name] = std::move(value);
  again_ = !r.firm;
  known_ = known_ || r.firm || doubtful_ >= doubtful_dead_names_borne;
}

// ---- what this node knows

// The time that was written is the right one: whoever starts later sees the dead, and not since when they are. What the
// view has shown as dead before is no new death: its name may have been given up since.
void dead_names::learn(const dht::view& v, unix_ms at) {
  for (const auto& [name, value] : stored_) died_[name] = std::min(*time_in(value), at);
  std::set<std::string> dead;
  for (const dht::member& m : v.members)
    if (!m.alive() && !m.body.name.empty() && v.me().serving()) dead.insert(to_lower(m.body.name));
  for (const dht::member& m : v.members)
    if (m.alive()) died_.erase(to_lower(m.body.name)), dead.erase(to_lower(m.body.name));
  for (const std::string& name : dead)
    if (!shown_dead_.contains(name)) died_.try_emplace(name, at);
  shown_dead_ = std::move(dead);
}

// A name's entry outlives its time until the publisher has found nothing left to take away under it.
void dead_names::let_go(duty d, unix_ms at, mono_time now) {
  const auto in_time = [at](unix_ms died) { return at - died <= dead_name_time.count(); };
  std::erase_if(clearing_, [&](const auto& c) {
    const auto one = died_.find(c.first);
    return one == died_.end() || in_time(one->second);
  });
  std::erase_if(died_, [&](const auto& one) {
    if (in_time(one.second)) return false;
    if (!d.keeps) return !stored_.contains(one.first);
    if (!d.published || !known_) return clearing_.erase(one.first), false;
    return now - clearing_.try_emplace(one.first, now).first->second >= dead_name_cleared_after;
  });
  while (died_.size() > dead_names_max) {
    died_.erase(std::ranges::min_element(died_, {}, [](const auto& one) { return one.second; }));
    dropped.add();
  }
}

// Each change is made from what was read: another publisher's later word on a name is not written over.
void dead_names::write() {
  if (writing_) return;
  std::vector<dht::change> changes;
  const auto full = [&] { return changes.size() >= dead_names_written_at_once; };
  for (const auto& [name, value] : stored_)
    if (!full() && !died_.contains(name)) changes.push_back({std::string(item_prefix) + name, {}, 0, true, dht::condition_of(value)});
  for (const auto& [name, when] : died_)
    if (!full() && !stored_.contains(name)) changes.push_back({std::string(item_prefix) + name, std::to_string(when), 0, false, dht::made_from_nothing});
  if (changes.empty()) return;
  std::vector<std::string_view> kept, forgotten;
  for (const dht::change& c : changes) (c.remove ? forgotten : kept).push_back(std::string_view(c.item).substr(item_prefix.size()));
  if (!kept.empty()) log::info("dns", fmt::format("the names of these dead nodes are kept: {}", fmt::join(kept, ", ")));
  if (!forgotten.empty()) log::info("dns", fmt::format("the names of these dead nodes are kept no more: {}", fmt::join(forgotten, ", ")));
  writing_ = true;
  const bool more = full();
  store_().put(dht::table::settings, key_, std::move(changes), [this, more, alive = alive_](const dht::write_result& w) {
    if (!*alive) return;
    writing_ = false;
    if (w.outcome) stored_ = entries_in(*w.outcome);
    else again_ = true; // somebody else was there, or it was not acknowledged: read, then decide anew
    if (more && w.outcome && !inside_) news_();
  });
}

void dead_names::sort_out(unix_ms at) {
  names_.clear();
  over_.clear();
  for (const auto& [name, when] : died_) (at - when <= dead_name_time.count() ? names_ : over_).push_back(name);
  known_gauge.set(static_cast<std::int64_t>(names_.size()));
}

} // namespace skald::dnsupdate
