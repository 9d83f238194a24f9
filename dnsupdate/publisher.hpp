#pragma once
// Publishes the zone to a DNS server (design §7, sip.md §10): reads what is there, sends the difference as one update
// guarded by compare-and-swap on TXT _skald.DOMAIN, reads again. No I/O; one thread. Who publishes is decided outside.
#include "base/scheduler.hpp"
#include "dnsupdate/zone_reader.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skald::dnsupdate {

inline constexpr duration reconcile_every = seconds(60);
inline constexpr duration backoff_first = seconds(1);
inline constexpr duration backoff_most = seconds(60);
inline constexpr duration pause_after_change = milliseconds(20); // several facts of one event make one run
inline constexpr duration pause_after_conflict = milliseconds(100); // plus as much again by chance
inline constexpr int conflicts_in_a_row_max = 5;
inline constexpr int update_tries = 3;
inline constexpr std::uint32_t negative_ttl_warned_s = 300;

struct publisher_config {
  endpoint server;
  tsig_key key;        // empty: unsigned updates
  std::string domain;  // lower case
  std::string self;    // this node's name, for the guard
  bool operator==(const publisher_config&) const = default;
};

struct publisher_wish {
  std::vector<record> records; // empty: nothing to say now, what is published stays
  std::string stamp;           // of the view
  enum class side : std::uint8_t { more, half, less } standing = side::more; // of a split
  std::vector<std::string> earlier_stamps; // of guards from before it
  std::vector<std::string> hosts;          // read too: what is ours there and not wanted is taken away
};

struct publisher_status {
  publish_state state = publish_state::off;
  std::string zone, last_error, warning;
  std::vector<record> seen, foreign;   // as last read
  std::vector<std::string> withheld;   // host names that somebody else holds
  std::uint64_t updates = 0;           // sent and applied
};

class publisher {
public:
  // All are referred to and outlive it.
  publisher(exchange_port& port, scheduler& timers, const clock& clk, rng& random);
  ~publisher();

  // Begins, or goes on with another configuration; nullopt: stops at once (this node owns the zone's key no more).
  void set(std::optional<publisher_config> config);
  void want(publisher_wish wish);
  const publisher_status& status() const { return status_; }

private:
  void schedule(duration in);
  void run();
  void on_read(std::expected<zone_seen, publish_problem> got);
  bool may_publish(const std::optional<guard>& there);
  void compare_and_send();
  void send(const std::vector<record>& guards, const std::optional<guard>& there, const difference& d);
  void transmit();
  void on_answer(result<std::string> got);
  void on_conflict();
  void applied();
  void problem(publish_problem p);
  void rest(publish_state s); // until the next minute

  exchange_port& port_;
  scheduler& timers_;
  const clock& clock_;
  rng& random_;
  std::optional<publisher_config> config_;
  std::optional<publisher_wish> wish_;
  publisher_status status_;
  timer_id timer_ = timer_id::none;
  std::unique_ptr<zone_reader> reader_, finished_; // a reader does not end inside its own call
  zone_seen seen_;
  std::optional<guard> last_guard_, pending_;      // last read or written; sent, not yet answered
  difference last_sent_;
  request request_;
  bool over_tcp_ = false, sending_ = false, stale_ = false, guard_late_ = false;
  int tries_ = 0, conflicts_ = 0;
  std::optional<difference> not_taken_; // what an update that was accepted has left undone
  duration backoff_ = backoff_first;
  std::uint64_t generation_ = 0; // answers of a former configuration are not looked at
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace skald::dnsupdate
