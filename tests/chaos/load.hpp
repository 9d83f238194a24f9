#pragma once
// What all parts of the load share: the edges, the phones, the requests, and what is counted.
#include "tests/chaos/phone.hpp"

#include <fmt/format.h>

#include <deque>

namespace chaos {

struct options {
  std::string domain = "skald.test", ip = "127.0.0.1", password = "secret";
  std::string nat_space, nat_ip; // network namespace behind a NAT, where every fourth phone is; empty: none
  std::size_t users = 100;
  double rate = 50, calls = 2; // a second
  int expires_s = 600;
  double hold_s = 5; // of a call; each holds half to one and a half of it
  std::uint64_t seed = 1;
};

constexpr std::chrono::seconds slow_after{2}; // the longest that nobody should have to wait whose edge lives

// Times without service: from the first try to the 200.
struct gaps {
  std::vector<double> seconds;
  void add(duration d) { seconds.push_back(std::chrono::duration<double>(d).count()); }
};

struct counts {
  std::map<int, std::uint64_t> register_answers, call_answers; // by status; call: final ones of calls between living edges
  std::uint64_t late_ok = 0; // a 200 after another final answer, where an edge had died
  std::uint64_t registered = 0, set_up = 0, ended = 0, in_dialog = 0, excused = 0;
  std::vector<std::string> broken, wrong_no, rung_twice, slow, slow_registers, failed; // one line each
  gaps living, behind_dead, calls;
  gaps calls_behind_dead, calls_behind_dead_nat; // to a callee whose edge died, by where the callee is
};

struct world {
  explicit world(const options& o) : wanted(o), random(o.seed), out(events, o.seed ^ 0x5eed) {}

  std::int64_t wall_ms() const; // since midnight UTC
  edge* living(); // any; nullptr: none
  edge* living_near(std::size_t at); // that one if it lives, else any
  std::size_t index_of(const edge* e) const { return static_cast<std::size_t>(e - edges.data()); }
  edge* edge_at(const sockaddr_in& source);
  void note_rung_twice(const phone& p, const incoming& first, const sockaddr_in& source, const std::string& branch);

  options wanted;
  loop events;
  skald::seeded_rng random;
  requests out;
  std::vector<edge> edges;
  std::vector<std::unique_ptr<phone>> phones;
  counts counted;
  // A callee's phone has the ACK of a call (calls.cpp).
  std::function<void(phone&, const std::shared_ptr<incoming>&)> on_acknowledged = [](phone&, const std::shared_ptr<incoming>&) {};
};

void note(std::vector<std::string>& into, std::string line);

// REGISTERs at a steady rate, each with a serial number, and the question afterwards what the nodes still know.
class registrations {
public:
  explicit registrations(world& w) : world_(w) {}
  void all_once(std::function<void()> when_done);
  void run();
  void stop() { running_ = false; }
  bool busy() const;
  void down(std::size_t edge_index); // its phones go elsewhere within a second
  // Each phone's binding is asked for through each living edge. Gives the summary as JSON.
  void verify(std::function<void(std::string)> when_done);

private:
  struct verdict;
  void tick();
  void refresh(phone& p);
  void attempt(phone& p);
  void answered(phone& p, std::uint32_t serial, const outcome& how);
  void again(phone& p, milliseconds after);
  void remember(phone& p, std::uint32_t serial, const edge& through, int status) const;
  void fetch(phone& p, edge& through, int tries, const std::shared_ptr<verdict>& into);
  void judge(phone& p, const edge& through, const sip::message& answer, verdict& into);
  void next_fetch(const std::shared_ptr<verdict>& into);

  world& world_;
  bool running_ = false;
  std::size_t next_ = 0, to_register_ = 0;
  mono_time due_{};
  std::function<void()> when_registered_;
};

struct call;

// Calls at a steady rate: set up, INFO from the callee, BYE from the caller.
class calls {
public:
  explicit calls(world& w);
  void run();
  void stop() { running_ = false; }
  std::size_t open() const { return by_id_.size() + waiting_; }

private:
  void tick();
  void start();
  void attempt(const std::shared_ptr<call>& c);
  void invite(const std::shared_ptr<call>& c, bool with_credentials);
  void answered(const std::shared_ptr<call>& c, const std::string& branch, const outcome& how);
  void failed(const std::shared_ptr<call>& c, int status);
  void again(const std::shared_ptr<call>& c);
  void note_gap(const call& c);
  void established(const std::shared_ptr<call>& c, const std::string& branch, const sip::message& ok);
  void acknowledge(const call& c, const std::string& branch);
  void callee_ready(phone& p, const std::shared_ptr<incoming>& in);
  void in_dialog(const std::shared_ptr<call>& c, phone& from, std::size_t edge_index, request what, std::function<void()> next);
  void bye(const std::shared_ptr<call>& c);
  bool late_answer(const call& c, const std::string& branch, const sip::message& ok);
  bool edges_lived(const call& c) const;
  void forget(const std::shared_ptr<call>& c);

  world& world_;
  bool running_ = false;
  mono_time due_{};
  std::size_t waiting_ = 0; // to be tried again
  std::unordered_map<std::string, std::shared_ptr<call>> by_id_;
};

} // namespace chaos
