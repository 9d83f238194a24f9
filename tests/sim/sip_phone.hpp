#pragma once
// A SIP phone at one UDP address: registers with digest, refreshes, calls the others and is called, finds its edge by
// RFC 3263 and the next one when that does not answer or says 503. Its transactions (RFC 3261 §17) are the production
// layer's; all else is a phone's own.
#include "base/scheduler.hpp"
#include "sip/resolve/dns_cache.hpp"
#include "sip/resolve/resolver.hpp"
#include "sip/transaction/layer.hpp"
#include "tests/sim/dns_model.hpp"
#include "tests/sim/sip_judge.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skald::sim {

class sip_world;

struct sip_counts {
  std::size_t registers = 0, registered = 0, calls = 0, answered = 0, byes = 0, failovers = 0, unanswered = 0;
  std::map<int, std::size_t> finals; // by status
};

class sip_phone final : sip::transaction_user, sip::message_sender {
public:
  sip_phone(sip_world& home, int number);
  ~sip_phone() override;

  void start();
  // No new call, no change of mind; what is registered is refreshed.
  void hold(bool quiet) { held_ = quiet; }
  bool idle() const { return call_ == nullptr && jobs_.empty(); }
  // MESSAGE to that AoR through that machine; `done` gets the final status, 0 if there was none.
  void probe(machine_id edge, const std::string& aor, std::function<void(int)> done);

  const std::string& aor() const { return aor_; }
  const std::string& user() const { return user_; }
  const std::string& contact() const { return contact_; }
  std::string password() const { return "secret " + user_; }
  const endpoint& address() const { return address_; }
  const sip_counts& counts() const { return counts_; }
  const int number;

private:
  // A request on its way through challenges and servers to its final answer.
  struct job {
    std::string method, uri, to, call_id, tag, more;
    std::uint32_t cseq = 0;
    std::vector<sip::target> targets;
    std::size_t at = 0;
    std::string credentials;
    int challenges = 0;
    std::string branch;
    sip::client_id transaction = sip::client_id::none;
    bool fixed = false;   // this server or none
    bool dropped = false; // nobody wants its answer any more
    std::function<void(const sip::message*)> done; // null: no server answered
  };
  using job_ptr = std::shared_ptr<job>;
  struct call; // sip_phone_calls.cpp

  // sip_phone.cpp: requests
  void launch(const std::string& route_uri, job_ptr j);
  void transmit(const job_ptr& j);
  void next_server(const job_ptr& j);
  void finish(const job_ptr& j, const sip::message* final);
  bool take_challenge(const job_ptr& j, const sip::message& response);
  std::string text_of(job& j);
  std::string new_id(std::string_view kind);

  // registration
  void register_now();
  void registered(const job& j, const sip::message& answer, std::uint32_t wanted);
  void reboot();
  void later(duration d, std::function<void()> f);
  duration between(duration least, duration most);

  // sip_phone_calls.cpp
  void maybe_call();
  void invite_answered(const sip::message& response);
  void invite_over(const sip::message* final);
  void give_up_call();
  void acknowledge(const sip::message& ok);
  void on_invite(sip::server_id id, const sip::message& request, const sip::arrival& from);
  void ring(std::uint64_t serial);
  void pick_up();
  void send_ok();
  void on_bye(sip::server_id id, const sip::message& request);
  void hang_up();
  void end_call();
  sip::message reply(const sip::message& request, int status) const;

  // sip::transaction_user
  void on_request(sip::server_id id, sip::message request, const sip::arrival& from) override;
  void on_cancel(sip::server_id cancel, sip::server_id invite, sip::message request, const sip::arrival& from) override;
  void on_ack(sip::message request, const sip::arrival& from) override;
  void on_response(sip::client_id id, sip::message response, const sip::arrival& from) override;
  void on_failure(sip::client_id id, sip::client_failure why) override;
  void on_stray_response(sip::message, const sip::arrival&) override {}
  void on_server_ended(sip::server_id, bool) override {}
  void on_client_ended(sip::client_id id) override { jobs_.erase(id); }
  // sip::message_sender
  bool send(const sip::flow& where, std::string_view bytes) override;

  void on_datagram(const endpoint& from, std::string bytes);
  void look_at_wire(const sip::message& m, const endpoint& from);

  sip_world& home_;
  std::string user_, aor_, contact_;
  endpoint address_;
  seeded_rng random_;
  dns_way dns_;
  sip::dns_cache cache_;
  sip::resolver resolver_;
  std::unique_ptr<sip::transaction_layer> layer_;
  std::map<sip::client_id, job_ptr> jobs_;
  std::unique_ptr<call> call_;
  std::optional<sip::target> edge_; // that answered last: the first to be asked next
  bool sticky_ = true;              // keeps to it
  bool held_ = false, registering_ = false, registered_ = false;
  std::uint32_t cseq_ = 0, expires_s_ = 0;
  std::string registration_id_;
  std::uint64_t serial_ = 0, call_serial_ = 0;
  mono_time refresh_at_{};
  sip_counts counts_;
};

} // namespace skald::sim
