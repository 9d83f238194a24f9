#pragma once
// The network between phones and edges: UDP datagrams that are lost, doubled and delayed. A machine's power and its
// process' pauses count as they do among machines; the cluster's own cuts do not: phones sit elsewhere.
#include "base/endpoint.hpp"
#include "tests/sim/cluster.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace skald::sim {

class sip_wire {
public:
  struct quality {
    double loss = 0, duplication = 0;
    duration delay_min = milliseconds(1), delay_max = milliseconds(20);
  };
  using receiver = std::function<void(const endpoint& from, const endpoint& to, std::string bytes)>;

  explicit sip_wire(cluster& home) : home_(home), random_(home.opts.seed ^ 0x77697265) {}

  void set_quality(const quality& q) { quality_ = q; }
  const quality& how() const { return quality_; }
  void plug(const endpoint& phone, receiver r) { phones_[phone] = std::move(r); }
  void from_phone(const endpoint& phone, const endpoint& to, std::string bytes);
  void from_machine(machine_id m, const endpoint& from, const endpoint& to, std::string bytes);
  void woke(machine_id m); // its process runs again: what waited in its socket is read
  void emptied(machine_id m) { sockets_.erase(m); } // with the process that it waited for
  std::optional<machine_id> machine_at(const endpoint& e) const;
  std::uint64_t datagrams() const { return datagrams_; }

private:
  struct waiting {
    endpoint from, to;
    std::string bytes;
  };
  void travel(std::move_only_function<void(std::string)> arrive, std::string bytes);
  void at_machine(machine_id m, const endpoint& from, const endpoint& to, std::string bytes);

  cluster& home_;
  seeded_rng random_;
  quality quality_;
  std::map<endpoint, receiver> phones_;
  std::map<machine_id, std::vector<waiting>> sockets_; // of paused processes
  std::uint64_t datagrams_ = 0;
};

} // namespace skald::sim
