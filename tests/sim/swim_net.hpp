#pragma once
// Membership on a simulated network: many nodes, one thread, virtual time, one seed. Datagrams are lost and delayed,
// links are reliable but pay for loss with time; nodes are killed, paused, started again and cut off.
#include "base/rng.hpp"
#include "dht/swim/membership.hpp"

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace skald::sim {

struct swim_options {
  int nodes = 3;
  dht::profile timing = dht::lan_profile();
  duration delay_min = std::chrono::microseconds(100), delay_max = milliseconds(1); // one way
  duration retransmission = milliseconds(200); // what a lost segment costs a link
  double loss = 0;                             // of each datagram, and of each segment
  std::uint64_t seed = 1;
};
swim_options lan(int nodes, double loss, std::uint64_t seed);
swim_options wan(int nodes, double loss, std::uint64_t seed); // 20 to 150 ms one way

// What a direction between two nodes carries.
enum class path : std::uint8_t { open, links_only, closed };

struct removal {
  mono_time at;
  int by, whom;
};

class swim_net {
public:
  // All nodes know each other and are active, at rest since a while.
  explicit swim_net(swim_options o);
  ~swim_net();

  mono_time now() const { return now_; }
  int size() const { return static_cast<int>(nodes_.size()); }
  void run_for(duration d) { run_until(now_ + d); }
  void run_until(mono_time end);
  // Runs until `done()`, asked every `step`; nullopt: it was not within `limit`.
  std::optional<duration> run_till(duration limit, duration step, auto done) {
    const mono_time from = now_;
    while (!done()) {
      if (now_ - from >= limit) return std::nullopt;
      run_for(step);
    }
    return now_ - from;
  }

  // Faults.
  void kill(int node);
  void pause(int node, duration d); // the process stands still; its socket buffers what fits
  void set_path(int from, int to, path p);
  void cut(const std::vector<int>& a, const std::vector<int>& b, path there, path back);
  void heal();
  void set_loss_of(int node, double to_and_from);
  // A new node, empty, that joins through `contact`. Returns its number.
  int start(int contact);
  // The same id again, as a new process.
  void restart(int node, int contact);
  void start_alone(int node);  // the same, without a contact
  void forget_disk(int node);  // the base that the next start would know
  void set_timing(int node, const dht::profile& p);
  void set_clock_offset(int node, milliseconds off);

  // What can be seen.
  dht::membership& at(int node);
  node_id id_of(int node) const;
  bool running(int node) const;
  bool sees(int node, int other) const;          // as living
  int views_with(int member) const;              // of running nodes, itself excepted
  bool all_agree() const;                        // all running nodes: one stamp
  bool confirmed(int node) const;                // some other running node has the same stamp
  bool bases_agree() const;                      // all running nodes: one base
  bool all_full() const;                         // and every running node in every view
  const std::vector<removal>& removals() const { return removals_; }
  void forget_removals() { removals_.clear(); }
  std::uint64_t suspicions() const { return suspicions_; }
  std::uint64_t packets() const { return packets_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t self_removals() const { return self_removals_; }
  std::uint64_t fresh_in_vain() const { return fresh_in_vain_; } // a node held its view for confirmed, that nobody else had

private:
  struct node;
  struct packet {
    int from, to;
    unsigned epoch; // of the receiver's process
    std::optional<dht::frame> frame;
    std::string bytes;
  };
  struct event {
    mono_time at;
    std::uint64_t sequence;
    int node;
    int packet; // -1: the node's deadline or the end of its pause
    bool operator>(const event& o) const { return at != o.at ? at > o.at : sequence > o.sequence; }
  };
  void make(int number, dht::member_state begin);
  void send(int from, const node_id& to, std::string bytes, std::optional<dht::frame> f);
  void deliver(int slot);
  void hand_over(node& n, const packet& p);
  void turn(int number);
  void schedule(int number);
  void push(mono_time at, int node, int packet);
  duration delay();
  void note_view(int by, const dht::view& v);

  swim_options options_;
  seeded_rng rng_;
  mono_time now_{seconds(1)};
  std::vector<std::unique_ptr<node>> nodes_;
  std::unordered_map<node_id, int> numbers_;
  std::vector<path> paths_;
  std::vector<event> heap_;
  std::vector<packet> pool_;
  std::vector<int> free_;
  std::vector<removal> removals_;
  std::uint64_t sequence_ = 0, suspicions_ = 0, packets_ = 0, bytes_ = 0, self_removals_ = 0, fresh_in_vain_ = 0;
};

} // namespace skald::sim
