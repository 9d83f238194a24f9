#pragma once
// One subscriber's phone: a UDP socket of its own, its digest, and what it does as a callee: it rings, answers 200,
// repeats that until the ACK, and agrees to everything in a dialog.
#include "tests/chaos/requests.hpp"

#include <deque>

namespace chaos {

struct world; // load.hpp

// The callee's end of a call.
struct incoming {
  std::string call_id, from_tag, branch, remote, local, target; // remote: From; local: To with our tag
  std::uint64_t cseq = 0;
  std::vector<std::string> routes;
  std::string answer; // last response, for a repeated request
  sockaddr_in source{};
  mono_time came{};
  unsigned falls = 0; // of the edge it came through, then
  bool answered = false, acknowledged = false, cancelled = false;
};

enum class place : std::uint8_t { street, behind_nat };

class phone final : public sender {
public:
  phone(world& w, std::string user, std::size_t home, place where);
  phone(const phone&) = delete;

  void send(std::string_view bytes, const sockaddr_in& to) override;
  const std::string& host_port() const override { return host_port_; }
  std::string aor() const;
  std::string contact() const { return "<sip:" + user + "@" + host_port_ + ">"; }

  // Takes what an answer 401 or 407 challenges with; false: nothing that can be answered.
  bool challenged(const sip::message& answer);
  // The Authorization or Proxy-Authorization line, whole; empty without a nonce.
  std::string credentials(std::string_view header, std::string_view method, std::string_view uri);
  bool has_nonce() const { return !nonce_.empty(); }
  void forget_nonce() { nonce_.clear(); }

  const std::string user;
  const place where;
  std::size_t at;       // index of the edge that it uses
  std::size_t bound_at; // of the edge that its binding names

  // Registration (registrations.cpp)
  std::string register_call_id, register_tag;
  unsigned cseq = 0;
  std::uint32_t sent = 0, acked = 0; // serial numbers of REGISTERs: sent, and answered 200
  mono_time acked_at{}, began{};
  int granted_s = 0;
  bool busy = false, behind_dead = false;
  int challenges = 0;

  std::deque<std::string> history; // the last REGISTERs, for whoever looks for what was lost

private:
  void readable();
  void on_request(const sip::message& m, const sockaddr_in& source);
  void on_invite(const sip::message& m, const sockaddr_in& source);
  void on_cancel(const sip::message& m, const sockaddr_in& source);
  void answer_call(const std::shared_ptr<incoming>& call, std::string ok);
  void repeat_ok(const std::shared_ptr<incoming>& call, duration wait, mono_time until);
  std::string reply(const sip::message& m, int status, std::string_view tag, std::string_view more = {}) const;

  world& world_;
  int fd_;
  std::string host_port_, nonce_, realm_, ha1_;
  std::uint32_t nonce_count_ = 0;
  std::unordered_map<std::string, std::shared_ptr<incoming>> calls_; // by Call-ID
};

} // namespace chaos
