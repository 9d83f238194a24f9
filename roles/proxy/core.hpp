#pragma once
// The core of one worker: what the transaction layer hands up goes to the stages, what comes back to the branches.
// One per worker, on its thread.
#include "roles/core/binding.hpp"
#include "roles/core/ports.hpp"
#include "sip/transaction/layer.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace skald::roles {

class authenticator;
struct edge_state;
class server_resolver;
struct worker;

class core final : public sip::transaction_user {
public:
  // All of them outlive the core. `env.transactions` has to be set before the first message.
  core(worker_env& env, registrar_port& registrar, authenticator& auth, server_resolver& resolver,
       edge_state& edge);
  ~core() override;

  // The cores of all workers of this node, by worker number; set before the first message, read only after. Needed for
  // responses that arrive at another worker than the one that waits for them.
  void set_siblings(std::vector<core*> all);

  void on_request(sip::server_id id, sip::message request, const sip::arrival& from) override;
  void on_cancel(sip::server_id cancel, sip::server_id invite, sip::message request, const sip::arrival& from) override;
  void on_ack(sip::message request, const sip::arrival& from) override;
  void on_response(sip::client_id id, sip::message response, const sip::arrival& from) override;
  void on_failure(sip::client_id id, sip::client_failure why) override;
  void on_stray_response(sip::message response, const sip::arrival& from) override;
  void on_server_ended(sip::server_id id, bool acknowledged) override;
  void on_client_ended(sip::client_id id) override;

  // Whether what comes from there is not to be heard: its source scans (scan_limit.hpp), and it is neither a subscriber's
  // flow nor a trusted peer. Asked before a request out of dialog becomes a transaction.
  bool scans(const sip::arrival& from) const;
  // A stream broke: its subscriber is not reached by it any more.
  void on_flow_gone(const sip::flow& f);
  // The cluster's facts were swapped: nodes that died take with them what waited for them (sip.md §6).
  void on_view();
  // After a restart: a binding of the store that names this node as its edge. True if its flow is still of use.
  bool adopt(const binding& b);
  // The worker that held the flow of a binding; nullopt: its Path holds no token of ours.
  static std::optional<std::uint16_t> worker_of(const binding& b, const key_ring& keys);
  // Requests under way; for drain and metrics.
  std::size_t size() const;
  std::size_t legs_size() const;
  // Call-IDs of the INVITEs without a final answer that this worker is the edge of. O(requests under way): for drain.
  std::set<std::string> unanswered() const;

private:
  struct impl;
  std::unique_ptr<impl> impl_;
  std::vector<core*> siblings_;
};

} // namespace skald::roles
