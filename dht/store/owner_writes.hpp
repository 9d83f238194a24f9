#pragma once
// Writing as the owner (consistency.md §3): one unacknowledged write per key, sent to every listed node, answered when
// enough of them hold it. A write that was answered stays here until all listed nodes have it or are marked as behind.
// Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/messages.hpp"

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace skald::dht {

class key_fetches;

class owner_writes {
public:
  using callback = std::move_only_function<void(write_result)>;

  owner_writes(store_context& c, key_fetches& fetches, std::function<void()> flush_soon)
      : c_(c), fetches_(fetches), flush_soon_(std::move(flush_soon)) {}

  void begin(table t, const ring_key& k, rule r, callback done);
  void on_ack(const node_id& from, const store_ack& a);
  void on_view();
  void on_link_down(const node_id& peer);
  void on_facts(const node_id& peer); // membership facts were exchanged: what it refused is sent once more

  void send_fresh(); // before the commit: copies write while this node's disk does
  void committed();  // what was sent is on this node's disk too
  void tick();       // each resend_after

  std::size_t writing() const { return ops_.size() - answered_; }
  std::size_t copying() const { return answered_; }

private:
  struct request {
    rule what;
    callback done;
    mono_time deadline;
  };
  using key_id = std::pair<ring_key, table>;
  struct key_queue {
    std::deque<request> waiting; // behind the one that is under way
  };
  enum class reach : std::uint8_t { to_send, sent, held, refused, ahead }; // ahead: refused for its version, for good
  struct target {
    listed_node node;
    reach state = reach::to_send;
    bool sent_again = false; // after a refusal under this view
    bool behind = false;     // is marked so: a merge brings it what it lacks
  };
  struct operation {
    std::uint64_t number = 0;
    key_id key;
    std::vector<record> records, former; // former: what each item was, to be written back
    std::vector<target> targets;
    callback done;
    bool held_here = false, answered = false, zone_waited = false;
    std::optional<view_stamp> complete_under; // of the view in which `former` was surely the last acknowledged state
    mono_time began;
    timer_id deadline = timer_id::none, zone_timer = timer_id::none;
  };
  struct outgoing { // per peer
    std::string entries;
    std::size_t count = 0;
    std::vector<std::pair<operation*, target*>> targets;
  };

  void start(const key_id& key, request r);
  void apply(const key_id& key, request r);
  std::optional<std::vector<record>> make_records(const key_id& key, const std::vector<change>& changes,
                                                  std::vector<record>& former);
  void submit(operation op);
  void next(const key_id& key); // the key is free: its next request begins
  void evaluate(std::uint64_t number);
  bool enough(const operation& op) const;
  bool zone_missing(const operation& op) const;
  void answer(operation& op, write_result result);
  void give_up(std::uint64_t number);
  void write_back(const operation& op);
  void mark_behind(operation& op, target& t);
  bool send_again(operation& op, target& t);
  bool room_for(const key_id& key, const std::vector<change>& changes, const std::vector<record>& current) const;
  void renew_targets(operation& op);
  void send(const std::vector<std::uint64_t>& numbers);
  void ship(const node_id& to, outgoing& batch);
  void drop(std::uint64_t number);
  void resend_now();
  write_result failed(write_error e) const { return {std::unexpected(e), 0}; }

  store_context& c_;
  key_fetches& fetches_;
  std::function<void()> flush_soon_;
  std::map<key_id, key_queue> keys_; // those with a write under way
  std::map<std::uint64_t, operation> ops_;
  std::vector<std::uint64_t> fresh_, uncommitted_;
  std::size_t answered_ = 0; // of ops_
  bool resend_ = false, resend_due_ = false; // something is to be sent again; with the next flush
};

// Refuses what is over the limits of a record or of a write.
bool within_limits(const std::vector<change>& changes);

} // namespace skald::dht
