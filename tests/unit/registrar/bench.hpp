#pragma once
// A registrar on a bench: one worker, a store in memory that can be told to fail, a clock that stands still.
#include "base/crypto.hpp"
#include "dht/store/store.hpp"
#include "roles/core/authenticator.hpp"
#include "roles/core/location.hpp"
#include "roles/registrar/registrar.hpp"
#include "sip/auth/challenge.hpp"
#include "sip/auth/credentials.hpp"
#include "sip/token/token.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace skald::roles::bench {

// Immediate, unless `held`: then writes wait for release().
class fake_store final : public dht::store_api {
public:
  unix_ms now = 1'700'000'000'000;
  bool answers = true;                        // answers_for()
  bool firm = true;                           // of fetch()
  std::optional<dht::write_error> fail;       // of writes to bindings
  bool held = false;
  std::size_t writes = 0, nonce_writes = 0;
  std::map<std::pair<dht::table, ring_key>, std::map<std::string, dht::record>> tables;

  std::vector<dht::record> read(dht::table t, const ring_key& k) const override {
    std::vector<dht::record> out;
    if (const auto it = tables.find({t, k}); it != tables.end())
      for (const auto& [item, r] : it->second)
        if (r.live(now)) out.push_back(r);
    return out;
  }
  bool answers_for(const ring_key&) const override { return answers; }
  void write(dht::table t, const ring_key& k, dht::rule r, std::move_only_function<void(dht::write_result)> done) override {
    waiting_.push_back([this, t, k, r = std::move(r), done = std::move(done)]() mutable { run(t, k, r, done); });
    if (!held) release();
  }
  void fetch(dht::table t, const ring_key& k, std::move_only_function<void(dht::fetch_result)> done) override {
    done({read(t, k), firm});
  }
  void put(dht::table t, const ring_key& k, std::vector<dht::change> changes,
           std::move_only_function<void(dht::write_result)> done) override {
    store(t, k, changes);
    done({read(t, k), 0});
  }
  unix_ms cluster_time() const override { return now; }
  std::vector<dht::record> page(dht::table, std::string&, std::size_t) const override { return {}; }

  void release() {
    while (!waiting_.empty()) {
      auto next = std::move(waiting_.front());
      waiting_.pop_front();
      next();
    }
  }
  void store(dht::table t, const ring_key& k, const std::vector<dht::change>& changes) {
    for (const dht::change& c : changes) {
      if (c.item == dht::floor_item) { // remove all
        tables[{t, k}].clear();
        continue;
      }
      dht::record r;
      r.table = t, r.key = k, r.item = c.item, r.value = c.value, r.expires = c.expires, r.removed = c.remove;
      tables[{t, k}][c.item] = r;
    }
  }

private:
  void run(dht::table t, const ring_key& k, dht::rule& r, std::move_only_function<void(dht::write_result)>& done) {
    ++(t == dht::table::bindings ? writes : nonce_writes);
    if (fail && t == dht::table::bindings) return done({std::unexpected(*fail), 0});
    auto changes = r(read(t, k));
    if (!changes) return done({std::unexpected(dht::write_error::refused), changes.error()});
    store(t, k, *changes);
    done({read(t, k), 0});
  }
  std::deque<std::move_only_function<void()>> waiting_;
};

class fake_flows final : public flow_port {
public:
  bool streams_alive = true;
  std::size_t posted = 0;
  void open(const sip::target&, std::move_only_function<void(std::optional<sip::flow>)> done) override { done(std::nullopt); }
  void open_link(const node_id&, std::move_only_function<void(std::optional<sip::flow>)> done) override { done(std::nullopt); }
  std::optional<flow_facts> facts(const sip::flow&) const override { return std::nullopt; }
  endpoint advertised(const sip::flow& f) const override { return f.local; }
  void run_on(std::uint16_t, std::move_only_function<void()> what) override { ++posted, what(); }
  std::uint16_t worker_count() const override { return 1; }
  bool alive(const sip::flow& f) const override { return !sip::is_stream(f.transport) || streams_alive; }
};

class fake_sender final : public sip::message_sender {
public:
  bool send(const sip::flow&, std::string_view) override { return true; }
};

class fake_cluster final : public cluster_port {
public:
  facts_ptr now;
  fake_store kept;
  facts_ptr facts() const override { return now; }
  dht::store_api& store() override { return kept; }
};

inline node_id node(std::uint8_t n) {
  node_id id;
  id.bytes.fill(n);
  return id;
}

// What a phone says.
struct phone {
  std::string user = "alice", domain = "example.com", password = "wonder";
  std::string username;                          // empty: user
  std::string request_uri = "sip:example.com";
  std::string to;                                // empty: user@domain
  std::string contact = "<sip:alice@192.0.2.1:5062>";
  std::string expires = "600";                   // the header; empty: none
  std::string call_id = "call-1";
  std::uint32_t cseq = 1;
  std::string more;                              // further header lines
  std::string via_more;                          // parameters of its Via
  sip::transport transport = sip::transport::udp;
  endpoint source = *endpoint::parse("192.0.2.1:5062");
  std::uint64_t edge = node(1).head();
  std::uint32_t serial = 0;
  std::string path_more = ";lr;ob";              // of our Path's URI
  std::string path_below;                        // a value of an SBC's
  // digest
  std::string nonce;
  std::uint32_t nc = 0;
  sip::digest_algorithm algorithm = sip::digest_algorithm::md5;
  std::optional<std::string> digest_uri;
  std::string qop = "auth";
};

class bench {
public:
  bench();
  ~bench();
  // One request on the wire, one answer.
  bool again = false; // of what is sent: as if another owner had begun it
  sip::message send(const phone& p);
  // As a phone does: sends, answers the challenge, and returns what came then. `p` keeps nonce, nc and CSeq.
  sip::message register_with_digest(phone& p);
  sip::message next(phone& p); // the same nonce, the next nc and CSeq
  void add_subscriber(const subscriber& s);
  void configure(std::function<void(settings&)> change);
  std::vector<binding> bindings(std::string_view aor = "sip:alice@example.com") const;
  std::string request_of(const phone& p) const;
  void seconds_pass(std::int64_t s) { cluster.kept.now += s * 1000; }

  fake_cluster cluster;
  fake_flows flows;
  fake_sender sender;
  manual_clock clock;
  scheduler timers;
  seeded_rng random{42};
  struct no_dns;
  std::unique_ptr<no_dns> dns;
  worker_env env;
  replay_memory replays;
  authenticator auth;
  roles::registrar registrar;
  std::vector<std::string> changed; // AoRs that on_change told of
};

std::string nonce_in(const sip::message& challenge);
bool is_stale(const sip::message& challenge);
std::vector<std::string> contacts_in(const sip::message& m);

} // namespace skald::roles::bench
