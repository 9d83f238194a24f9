#pragma once
// The client's half of many phones: requests that are repeated until they are answered (RFC 3261 §17.1), and what is
// held against the cluster: no final answer from an edge that lived, or two different ones.
#include "base/rng.hpp"
#include "sip/message/message.hpp"
#include "tests/chaos/loop.hpp"

#include <functional>
#include <map>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <unordered_map>
#include <vector>

namespace chaos {

namespace sip = skald::sip;

// A node. What is true of it (`alive`, and how often it fell), and what phones think: they notice late.
struct edge {
  static constexpr unsigned falls_of_the_dead = ~0U; // it has not lived since, whatever comes
  std::string name;
  sockaddr_in address{};
  bool alive = true;
  bool up = true;
  unsigned falls = 0;

  // Whether it has lived since falls_now() said that.
  unsigned falls_now() const { return alive ? falls : falls_of_the_dead; }
  bool lived(unsigned falls_then) const { return alive && falls == falls_then; }
};

struct request {
  std::string method, uri, from, to, call_id;
  unsigned cseq = 1;
  std::vector<std::string> routes;
  std::string more; // whole header lines
  std::string body; // SDP
};

// status 0: no final answer in 32 s (64*T1); -1: the edge is dead, and the phone has noticed.
struct outcome {
  int status;
  const sip::message* answer;
};

// Who sends: a socket with the address that stands in Via.
class sender {
public:
  virtual ~sender() = default;
  virtual void send(std::string_view bytes, const sockaddr_in& to) = 0;
  virtual const std::string& host_port() const = 0;
};

struct request_counts {
  std::uint64_t sent = 0, repeated = 0, answered = 0, edge_fell = 0;
  std::vector<std::string> unanswered, twice; // one line each
};

class requests {
public:
  using done = std::function<void(const outcome&)>;
  // A 2xx to an INVITE that had another final answer (RFC 3261 §16.7 step 5 lets it pass); false: held against the cluster.
  using late = std::function<bool(const sip::message&)>;
  requests(loop& events, std::uint64_t seed) : events_(events), random_(seed) {}

  // The branch; `on_done` is called once, later.
  std::string send(sender& from, edge& through, const request& what, done on_done, late on_late = {});
  // For a 2xx to INVITE: sent now, and again each time the 2xx comes again (RFC 3261 §13.2.2.4).
  void acknowledge(const std::string& branch, const request& ack);
  void on_response(const sip::message& m);
  void down(const edge& which); // ends what went through it

  std::string unique() { return std::to_string(random_.next()); }
  std::size_t under_way() const { return under_way_; }
  const request_counts& counts() const { return counts_; }

private:
  struct entry {
    sender* from;
    edge* through;
    unsigned falls; // of `through` when it was sent
    std::string method, bytes, ack, first;
    request what;
    done on_done;
    late on_late;
    duration wait;
    mono_time began;
    int status = 0; // final
    std::string to_tag;
    bool provisional = false, over = false, told_twice = false;
  };
  static std::string text(const request& r, const std::string& via);
  void repeat(const std::string& branch);
  void conclude(const std::string& branch, entry& e, const outcome& how);
  void acknowledge_failure(const std::string& branch, entry& e, const sip::message& m);

  loop& events_;
  skald::seeded_rng random_;
  std::unordered_map<std::string, entry> entries_; // by branch; a final answer's stays 32 s, to see a second one
  std::size_t under_way_ = 0;
  request_counts counts_;
};

std::string tag_of(const sip::message& m, sip::header h);

} // namespace chaos
