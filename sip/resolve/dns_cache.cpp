#include "sip/resolve/dns_cache.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"

#include <algorithm>
#include <deque>
#include <unordered_map>

namespace skald::sip {

namespace {

metrics::counter hits("skald_dns_cache_hits_total", "DNS questions answered from memory");
metrics::counter misses("skald_dns_cache_misses_total", "DNS questions that went to the resolver");
metrics::counter refused("skald_dns_cache_refused_total", "DNS questions refused because too many wait");
metrics::counter evicted("skald_dns_cache_evicted_total",
                         "DNS answers dropped before their time because there were too many");

std::string key_of(std::string_view name, dns_type type) {
  return to_lower(name) + '/' + static_cast<char>('0' + static_cast<int>(type));
}

seconds life_of(const dns_answer& a) {
  switch (a.status) {
  case dns_status::ok:
    return std::clamp(a.ttl, seconds(0), dns_positive_ttl_max);
  case dns_status::nxdomain:
  case dns_status::nodata:
    return std::clamp(a.ttl, seconds(0), dns_negative_ttl_max);
  case dns_status::failure:
    return dns_failure_ttl;
  }
  return seconds(0);
}

} // namespace

struct dns_cache::state {
  struct entry {
    dns_answer answer;
    mono_time until;
    std::uint64_t serial; // of its place in `order`
  };

  explicit state(const clock& c) : clk(c) {}

  void keep(const std::string& key, const dns_answer& answer) {
    const seconds life = life_of(answer);
    if (life <= seconds(0)) return;
    const std::uint64_t serial = next++;
    answers.insert_or_assign(key, entry{answer, clk.now() + life, serial});
    order.emplace_back(key, serial);
    while (order.size() > dns_cache_entries_max) { // bounds `answers` too: each of them has a place in it
      const auto it = answers.find(order.front().first);
      if (it != answers.end() && it->second.serial == order.front().second) {
        if (it->second.until > clk.now()) evicted.add();
        answers.erase(it);
      }
      order.pop_front();
    }
  }

  const clock& clk;
  std::uint64_t next = 0;
  std::unordered_map<std::string, entry> answers;
  std::deque<std::pair<std::string, std::uint64_t>> order; // oldest first; may hold places that were given up
  std::unordered_map<std::string, std::vector<callback>> waiting;
  std::size_t waiting_count = 0;
};

dns_cache::dns_cache(const clock& clk, dns_port& behind) : state_(std::make_shared<state>(clk)), behind_(behind) {}
dns_cache::~dns_cache() = default;

std::size_t dns_cache::size() const {
  return state_->answers.size();
}

void dns_cache::clear() {
  state_->answers.clear();
  state_->order.clear();
}

void dns_cache::query(std::string name, dns_type type, callback done) {
  const std::string key = key_of(name, type);
  if (const auto it = state_->answers.find(key); it != state_->answers.end()) {
    if (it->second.until > state_->clk.now()) {
      hits.add();
      dns_answer copy = it->second.answer;
      copy.ttl = std::chrono::duration_cast<seconds>(it->second.until - state_->clk.now());
      return done(std::move(copy));
    }
    state_->answers.erase(it);
  }
  if (state_->waiting_count >= dns_cache_waiting_max) {
    refused.add();
    return done(dns_answer{});
  }
  ++state_->waiting_count;
  auto& queue = state_->waiting[key];
  queue.push_back(std::move(done));
  if (queue.size() > 1) return; // somebody has asked already
  misses.add();
  behind_.query(std::move(name), type, [weak = std::weak_ptr(state_), key](dns_answer answer) {
    const auto alive = weak.lock();
    if (!alive) return;
    alive->keep(key, answer);
    auto node = alive->waiting.extract(key);
    if (node.empty()) return;
    alive->waiting_count -= node.mapped().size();
    for (callback& waiter : node.mapped())
      waiter(answer);
  });
}

} // namespace skald::sip
