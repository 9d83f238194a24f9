#pragma once
// The cluster's durable records under the zone's key, in memory: conditional puts, answers in doubt, and late ones.
#include "dht/store/store.hpp"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace skald::dnsupdate {

struct names_store final : dht::store_api {
  std::vector<dht::record> read(dht::table, const ring_key&) const override { return {}; }
  bool answers_for(const ring_key&) const override { return true; }
  void write(dht::table, const ring_key&, dht::rule, std::move_only_function<void(dht::write_result)> done) override {
    done({std::unexpected(dht::write_error::not_owner)});
  }
  void fetch(dht::table, const ring_key&, std::move_only_function<void(dht::fetch_result)> done) override {
    ++fetches;
    late.push_back([this, done = std::move(done)]() mutable { done({in_doubt ? std::vector<dht::record>{} : records(), !in_doubt}); });
    if (!slow) answer_all();
  }
  void put(dht::table, const ring_key&, std::vector<dht::change> changes, std::move_only_function<void(dht::write_result)> done) override {
    ++puts;
    late.push_back([this, changes = std::move(changes), done = std::move(done)]() mutable {
      for (const dht::change& c : changes) {
        const auto at = entries.find(c.item);
        const bool same = at == entries.end() ? c.made_from == dht::made_from_nothing || c.remove : dht::condition_of(at->second) == c.made_from;
        if (c.made_from == 0 || same) continue;
        ++conflicts;
        return done({std::unexpected(dht::write_error::refused), dht::put_conflict});
      }
      for (const dht::change& c : changes)
        if (c.remove) entries.erase(c.item);
        else entries[c.item] = c.value;
      done({records()});
    });
    if (!slow) answer_all();
  }
  unix_ms cluster_time() const override { return time; }
  std::vector<dht::record> page(dht::table, std::string&, std::size_t) const override { return {}; }

  void answer_all() {
    for (auto& answer : std::exchange(late, {})) answer();
  }
  std::vector<dht::record> records() const {
    std::vector<dht::record> out;
    for (const auto& [item, value] : entries) {
      dht::record& r = out.emplace_back();
      r.table = dht::table::settings, r.item = item, r.value = value;
    }
    return out;
  }
  std::vector<std::string> kept() const {
    std::vector<std::string> out;
    for (const auto& [item, _] : entries) out.push_back(item.substr(5));
    return out;
  }
  std::string value(const std::string& name) const { return entries.at("dead." + name); }
  // Item by item, the later write wins; here the one that stands is the later one.
  void merge(const names_store& other) { entries.insert(other.entries.begin(), other.entries.end()); }

  std::map<std::string, std::string> entries;
  std::vector<std::move_only_function<void()>> late;
  unix_ms time = 1'700'000'000'000;
  int fetches = 0, puts = 0, conflicts = 0;
  bool in_doubt = false, slow = false;
};

} // namespace skald::dnsupdate
