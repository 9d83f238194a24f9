#pragma once
// Asking other nodes what they hold under one key: for a reader that does not hold it or not surely, and for an owner
// whose partition is unsettled (consistency.md §3 1., §4). Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/messages.hpp"

#include <functional>
#include <map>
#include <set>

namespace skald::dht {

class key_fetches {
public:
  key_fetches(store_context& c, std::function<void()> flush_soon) : c_(c), flush_soon_(std::move(flush_soon)) {}

  // A reader's question to the key's living listed nodes and sources, and to the sources that these name (§4: "a node that
  // is asked while it sees another as owner").
  void fetch(table t, const ring_key& k, std::move_only_function<void(fetch_result)> done);
  // An owner's: all sources of the key's partition, merged here. `done(false)`: not all had answered by the deadline.
  void merge(table t, const ring_key& k, mono_time deadline, std::move_only_function<void(bool complete)> done);

  void on_question(const node_id& from, const store_fetch& q);
  void on_records(const node_id& from, store_records a);
  void on_view();
  void on_link_down(const node_id& peer);
  void tick();

  std::size_t size() const { return ops_.size(); }

private:
  enum class reach : std::uint8_t { to_send, sent, answered, partly }; // partly: it has more than fits an answer
  struct operation {
    dht::table table{};
    ring_key key;
    bool sources_only = false;
    std::map<node_id, reach> asked;
    std::map<std::string, record> found; // the highest version of each item
    std::set<node_id> named;             // sources of those who answered
    bool complete = false;               // the owner, by this node's view too, has answered and has seen everything
    mono_time began;
    timer_id deadline = timer_id::none;
    std::move_only_function<void(fetch_result)> done;
    std::move_only_function<void(bool)> merged;
  };

  std::uint64_t add(operation op, mono_time deadline);
  void ask(std::uint64_t number, operation& op);
  void take(operation& op, const std::vector<record>& records);
  void finish_if_done(std::uint64_t number);
  void finish(std::uint64_t number);
  bool firm(const operation& op) const;
  std::set<node_id> may_hold(const operation& op) const; // the dead included

  store_context& c_;
  std::function<void()> flush_soon_;
  std::map<std::uint64_t, operation> ops_;
  bool resend_ = false;
};

} // namespace skald::dht
