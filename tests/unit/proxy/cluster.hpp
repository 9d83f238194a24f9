#pragma once
// A cluster in one thread: real transaction layers, cores, registrars and authenticators on a store that all share,
// joined by a wire that is a queue, on a clock that stands still. Phones and foreign servers are scripted.
#include "roles/core/authenticator.hpp"
#include "roles/core/names.hpp"
#include "roles/core/ports.hpp"
#include "roles/proxy/core.hpp"
#include "roles/proxy/edge_state.hpp"
#include "roles/proxy/server_resolver.hpp"
#include "roles/registrar/registrar.hpp"
#include "sip/message/message.hpp"
#include "sip/transaction/layer.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skald::roles::testing {

class cluster;

class shared_store final : public dht::store_api {
public:
  explicit shared_store(const skald::clock& c) : clock_(c) {}
  std::map<std::pair<dht::table, ring_key>, std::map<std::string, dht::record>> tables;
  bool firm = true;
  std::function<std::optional<dht::write_error>(dht::table)> refuses; // asked before a write
  bool slow = false; // fetches are kept until answer_all()
  std::vector<std::move_only_function<void()>> asked;
  void answer_all();

  std::vector<dht::record> read(dht::table t, const ring_key& k) const override;
  bool answers_for(const ring_key&) const override { return firm && !slow; }
  void write(dht::table t, const ring_key& k, dht::rule r,
             std::move_only_function<void(dht::write_result)> done) override;
  void fetch(dht::table t, const ring_key& k, std::move_only_function<void(dht::fetch_result)> done) override;
  void put(dht::table t, const ring_key& k, std::vector<dht::change> changes,
           std::move_only_function<void(dht::write_result)> done) override;
  unix_ms cluster_time() const override { return clock_.wall(); }
  std::vector<dht::record> page(dht::table t, std::string& cursor, std::size_t limit) const override; // of all owners
  void keep(dht::table t, const ring_key& k, const std::vector<dht::change>& changes);
  std::size_t count(dht::table t) const;

private:
  const skald::clock& clock_;
};

// What one node sees of it: the records whose owner it is are its own.
class node_store final : public dht::store_api {
public:
  node_store(shared_store& all, const cluster_port& node) : all_(all), node_(node) {}
  std::vector<dht::record> read(dht::table t, const ring_key& k) const override { return all_.read(t, k); }
  bool answers_for(const ring_key& k) const override { return all_.answers_for(k); }
  void write(dht::table t, const ring_key& k, dht::rule r, std::move_only_function<void(dht::write_result)> done) override {
    all_.write(t, k, std::move(r), std::move(done));
  }
  void fetch(dht::table t, const ring_key& k, std::move_only_function<void(dht::fetch_result)> done) override {
    all_.fetch(t, k, std::move(done));
  }
  void put(dht::table t, const ring_key& k, std::vector<dht::change> c, std::move_only_function<void(dht::write_result)> done) override {
    all_.put(t, k, std::move(c), std::move(done));
  }
  unix_ms cluster_time() const override { return all_.cluster_time(); }
  std::vector<dht::record> page(dht::table t, std::string& cursor, std::size_t limit) const override;

private:
  shared_store& all_;
  const cluster_port& node_;
};

// One node with one worker.
class test_node final : public cluster_port, public flow_port, public sip::message_sender {
public:
  test_node(cluster& c, std::string name, const node_id& id, ip_address ip, std::uint64_t seed);
  ~test_node() override;

  facts_ptr facts() const override { return facts_; }
  dht::store_api& store() override { return kept; }
  void views_differ(const node_id& peer) override { compared_with_.push_back(peer); }
  std::vector<node_id> compared_with_; // whose view was found to differ
  void open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) override;
  void open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) override;
  std::optional<flow_facts> facts(const sip::flow&) const override { return flow_facts{}; }
  endpoint advertised(const sip::flow& f) const override { return f.local; }
  void run_on(std::uint16_t, std::move_only_function<void()> what) override;
  std::uint16_t worker_count() const override { return 1; }
  bool alive(const sip::flow& f) const override { return !dead_flows.contains(f.remote); }
  bool send(const sip::flow& where, std::string_view bytes) override;

  void receive(std::string bytes, const sip::arrival& from);
  endpoint sip_address() const { return {ip, 5060}; }
  endpoint link_address() const { return {ip, 4260}; }
  sip::flow link_to(const endpoint& there) const;

  cluster& home;
  std::string name;
  node_id id;
  ip_address ip;
  facts_ptr facts_;
  node_store kept;
  std::set<endpoint> dead_flows;
  std::vector<sip::target> opened; // what it was asked to open
  bool refuses_streams = false, opens_nothing = false; // towards foreign servers
  bool killed = false, frozen = false; // as with SIGKILL; as with SIGSTOP: what is sent to it waits
  std::vector<std::move_only_function<void()>> held;
  scheduler timers;
  seeded_rng random;
  struct no_dns;
  struct table_resolver;
  std::unique_ptr<no_dns> dns;
  std::unique_ptr<table_resolver> resolver;
  worker_env env;
  authenticator auth;
  roles::registrar registrar;
  edge_state edge;
  roles::core core;
  sip::transaction_layer layer;
};

// A UA (or foreign server) at one UDP address, that says what a test tells it to.
class phone {
public:
  phone(cluster& c, std::string user, std::string_view address, std::string domain = "example.com");

  struct call_options {
    std::string from{}; // empty: <sip:user@domain>
    std::string to{};   // empty: <uri>
    std::string more{}; // header lines
    std::string body{};
    std::string call_id{}; // empty: a new one
    int max_forwards = 70; // below 0: none
    bool challenge = true; // answers a 407 by itself, once
    std::string contact{}; // empty: the phone's own
  };
  // Sends to that node, answers a challenge, returns the Call-ID. Answers are in inbox().
  std::string request(test_node& n, std::string_view method, std::string_view uri, const call_options& o);
  std::string request(test_node& n, std::string_view method, std::string_view uri);
  // The last request as another transaction, as to the next server (RFC 3263 §4.3).
  void same_again(test_node& n);
  void ack_failure(test_node& n, const sip::message& response); // RFC 3261 §17.1.1.3
  void register_at(test_node& n, int expires = 600);
  void respond(const sip::message& request, int status, std::string_view more = {}, std::string_view contact = {});
  // In a dialog, as a UAC that got `response` to its request / a UAS that got `request`.
  void in_dialog_as_caller(test_node& n, const sip::message& response, std::string_view method,
                           std::string_view more = {});
  void in_dialog_as_callee(test_node& n, const sip::message& request, std::string_view method,
                           std::string_view more = {});
  void ack(test_node& n, const sip::message& response);
  void cancel(test_node& n, std::string_view more = {});
  void send_text(test_node& n, std::string text);

  // What came; requests and responses in order. Retransmissions too.
  std::deque<sip::message> inbox;
  std::optional<sip::message> take_request(std::string_view method);
  std::optional<sip::message> take_response(int status);
  std::vector<int> statuses() const; // of responses in the inbox
  std::size_t count(std::string_view method) const;
  void clear() { inbox.clear(); }
  std::string contact() const;
  std::string aor() const { return "sip:" + user + "@" + domain; }

  cluster& home;
  std::string user, domain, password = "secret", tag;
  std::string proxy_authorization(const sip::message& challenge, std::string_view method, std::string_view uri);
  endpoint address;
  std::string register_more; // header lines of REGISTER
  int silent = 0;            // 1: answers no keep-alive OPTIONS
  std::shared_ptr<const sip::certified_names> certified; // what its TLS certificate proved

private:
  friend class cluster;
  void receive(std::string_view bytes, const sip::arrival& at);
  std::string next_branch();
  std::string last_request_, last_uri_, last_method_;
  int cseq_ = 0, branch_ = 0;
  std::map<std::string, endpoint> came_from_; // top Via branch of a request → who sent it
};

class cluster {
public:
  explicit cluster(std::size_t nodes, std::function<void(settings&)> configure = {});
  ~cluster();

  test_node& node(std::size_t i) { return *nodes_[i]; }
  std::size_t size() const { return nodes_.size(); }
  // The node that owns the AoR.
  test_node& owner_of(std::string_view aor);
  // A user name whose AoR that node owns.
  std::string user_owned_by(test_node& n, std::string_view prefix);
  phone& add_phone(const std::string& user, std::string_view address); // and its subscriber
  phone& add_stranger(const std::string& user, std::string_view address, std::string domain = "elsewhere.net");
  void set_facts(std::function<void(cluster_facts&)> change);
  // The process is gone: its links break at once, its death is not in the views yet.
  void kill(test_node& n);
  // It is out of every view, and of the rings.
  void bury(test_node& n);
  // It says that it leaves: first it alone knows, and the others cut it off one by one.
  void leave(test_node& n);
  void cut_link(test_node& a, test_node& b);
  void freeze(test_node& n) { n.frozen = true; }
  void thaw(test_node& n);
  // Delivers until nothing is under way.
  void settle();
  void advance(duration d); // with all timers on the way
  void post(std::move_only_function<void()> what) { queue_.push_back(std::move(what)); }
  void deliver(test_node& from, const sip::flow& where, std::string bytes);
  void deliver(phone& from, test_node& to, std::string bytes);

  manual_clock clock;
  shared_store store{clock};
  replay_memory replays;
  std::map<std::string, std::vector<sip::target>> dns; // URI → targets
  std::size_t link_messages = 0;
  std::string trace; // what went over the wire, for failing tests
  bool loss(const endpoint& to) const { return lost.contains(to); }
  std::set<endpoint> lost;

private:
  void hand(test_node& to, std::string bytes, const sip::arrival& from);
  std::vector<std::unique_ptr<test_node>> nodes_;
  std::vector<std::unique_ptr<phone>> phones_;
  std::deque<std::move_only_function<void()>> queue_;
};

std::string header_of(const sip::message& m, sip::header h);

} // namespace skald::roles::testing
