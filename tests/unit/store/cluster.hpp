#pragma once
// A cluster of stores in one thread: a virtual clock, links with delays that can be cut, and a view that the test sets.
#include "base/rng.hpp"
#include "base/scheduler.hpp"
#include "dht/link/messages.hpp"
#include "dht/ring/rings.hpp"
#include "dht/store/replicated.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace skald::dht::test {

// A disk that survives its store: what was appended or committed is there, unless `failing`.
class fake_disk final : public table_store, public log_file, public state_file {
public:
  outcome<void> erase(partition first, partition last) override;
  outcome<void> save(std::string_view content) override;
  outcome<std::string> load() override { return memory; }
  outcome<void> commit(std::span<const record> rows) override;
  outcome<void> load(const std::function<void(record&&)>& row) override;
  outcome<void> append(std::string_view batch) override;
  outcome<void> sync() override { return {}; }
  std::uint64_t size() const override { return size_; }
  outcome<void> replay(const std::function<void(std::string_view)>& batch) override;
  outcome<void> begin_rewrite() override;
  outcome<void> rewrite(std::string_view batch) override;
  outcome<void> finish_rewrite() override;

  bool failing = false;
  bool no_room = false; // for a second log; the first one can be written
  std::optional<int> appends_left{}; // then it fails
  int rewrites = 0, rewrites_begun = 0, commits = 0;
  std::vector<std::string> log;
  std::string memory; // of lists and sources
  std::map<std::tuple<table, ring_key, std::string>, record> rows;

private:
  std::uint64_t size_ = 0;
  std::optional<std::vector<std::string>> next_;
};

class cluster {
public:
  explicit cluster(std::uint64_t seed = 1) : random(seed) {}
  ~cluster();

  struct node {
    node_id id;
    std::unique_ptr<dht::store> store; // nullptr: the process is dead
    std::unique_ptr<link_port> links;
    fake_disk disk;
    member_state state = member_state::joining;
    std::uint64_t life = 1;
    std::uint32_t incarnation = 0;
    duration clock_off{0};             // of its cluster time
    std::string zone;
    std::uint32_t wire_highest = wire_version_highest;
    bool in_view = false;
    bool suspect = false;              // in everybody's view
    bool view_frozen = false;          // sees no new view
    std::optional<std::map<std::size_t, member_state>> sees{}; // its own opinion of some, whatever the others see
    ring_pair tables;                  // as this node saw them last
    int settled_calls = 0;
    bool activate_when_settled = true;
    std::vector<failure> disk_failures;
  };

  // Starts a node and tells the others. It turns active when it is settled, unless told otherwise.
  std::size_t join(const std::string& zone = {}, bool activate = true);
  void start(const std::vector<std::string>& zones); // so many nodes, active and settled
  void kill(std::size_t n);     // the process dies; the views still have it
  void remove(std::size_t n);   // the views learn of the death
  void restart(std::size_t n, bool disk_kept = true);
  void refute(std::size_t n);   // its incarnation rises: somewhere a death was told and taken back
  void set_state(std::size_t n, member_state s);
  void publish();               // the present membership as a view to each node
  void set_base(const std::vector<std::size_t>& members); // of the next epoch; to all that live, and to who comes later

  void cut(std::size_t a, std::size_t b); // both ways; what is in flight is lost
  void heal(std::size_t a, std::size_t b);

  void run(duration d);
  bool run_until(const std::function<bool()>& f, duration limit = seconds(10));

  dht::store& at(std::size_t n) { return *nodes[n]->store; }
  std::size_t owner_of(const ring_key& k); // by the full view; SIZE_MAX: nobody
  std::vector<std::size_t> list_of(const ring_key& k);

  // One write at `n` or put from it, run to its answer. `value` nullopt: remove the item.
  write_result write(std::size_t n, const ring_key& k, const std::string& item, std::optional<std::string> value,
                     table t = table::bindings);
  write_result put(std::size_t n, const ring_key& k, const std::string& item, std::optional<std::string> value,
                   table t = table::bindings);
  fetch_result fetch(std::size_t n, const ring_key& k, table t = table::bindings);
  std::optional<std::string> value(std::size_t n, const ring_key& k, const std::string& item,
                                   table t = table::bindings); // of read()
  ring_key key_owned_by(std::size_t n, int salt = 0);

  dht::base base;
  manual_clock time;
  scheduler timers;
  seeded_rng random;
  duration delay_min{200}, delay_spread{300}; // microseconds
  std::vector<std::unique_ptr<node>> nodes;
  std::set<std::pair<node_id, node_id>> refusing; // send() is refused at once
  std::uint64_t frames = 0, bytes = 0;
  std::uint64_t memory_budget = 0;                 // of nodes that start from now on
  std::function<bool(const node_id& from, const node_id& to, const frame&)> lose; // true: this frame is dropped

private:
  class links;
  friend class links;
  bool carry(std::size_t from, const node_id& to, frame f);
  std::size_t index_of(const node_id& id) const;
  void boot(std::size_t n);
  void exchange_facts(std::size_t a, std::size_t b);
  void break_links(std::size_t n);

  std::set<std::pair<std::size_t, std::size_t>> cut_;
  std::map<std::pair<std::size_t, std::size_t>, std::uint64_t> link_epoch_; // a broken link's frames are lost
  std::map<std::pair<std::size_t, std::size_t>, mono_time> last_arrival_;   // keeps frames of a link in order
  std::uint64_t stamp_ = 0;
  rings tables_;
};

} // namespace skald::dht::test
