#pragma once
// All requests under way on one worker, and the machine that runs their branches: sends, fails over, cancels, gathers
// responses and answers upstream once (RFC 3261 §16.6 to §16.10). It knows nothing of stages. One thread.
#include "roles/core/ports.hpp"
#include "roles/proxy/context.hpp"
#include "roles/proxy/leg_index.hpp"
#include "roles/proxy/legs.hpp"
#include "roles/proxy/server_resolver.hpp"
#include "roles/proxy/via_writer.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

namespace skald::roles {

// Port: what passes is shown to those who learn from it. `flow`: where a response came from.
class passage_observer {
public:
  virtual ~passage_observer() = default;
  // A response of a branch, our Via taken off, before anything is decided: from a UA or foreign server it is cleaned.
  virtual void on_arrived(context& c, branch& b, sip::message& response, const sip::arrival& from) = 0;
  // A response that goes upstream now (1xx but 100, or final).
  virtual void on_passing(context& c, sip::message& response) = 0;
};

class contexts final : leg_user {
public:
  contexts(worker_env& env, server_resolver& resolver, passage_observer& observer, leg_index& index);
  ~contexts() override;

  // nullptr: over contexts_max.
  context_ptr create(sip::server_id id, sip::message request, const sip::arrival& from,
                     std::shared_ptr<const name_index> names);
  context_ptr find(sip::server_id id) const;
  std::size_t size() const { return by_server_.size(); }
  // Adds the Call-IDs of INVITEs without a final answer that this node is the edge of: its own UAs' and servers', and those
  // that ring at them. What it only passes on between edges another node goes on with. O(requests).
  void unanswered(std::set<std::string>& call_ids) const;

  // ---- upstream
  sip::message make_response(const context& c, int status) const; // of our own
  void provisional(context& c, int status);
  void answer(const context_ptr& c, sip::message response); // a final one; later ones are dropped, but for 2xx
  void answer(const context_ptr& c, int status);
  void answer_retry(const context_ptr& c, int status, seconds after);

  // ---- downstream: starts one branch, or several at once. Never with an empty list, never empty ways.
  void forward(const context_ptr& c, std::vector<branch> branches);
  void forward(const context_ptr& c, stage from, way w);
  // The caller gave up, or a timer did.
  void cancel_all(const context_ptr& c, std::string_view reason);
  // RFC 3261 §16.8 for the fork as a whole: after `t` every branch that still runs is cancelled and counts as 408.
  void limit_ringing(const context_ptr& c, duration t);

  // ---- from the transaction layer. False: not one of ours.
  bool on_response(sip::client_id id, sip::message response, const sip::arrival& from);
  bool on_failure(sip::client_id id, sip::client_failure why);
  bool on_client_ended(sip::client_id id);
  void on_server_ended(sip::server_id id);

  // ---- when nodes die (sip.md §6)
  // A link broke: who waited at its far end is gone.
  void on_link_gone(const sip::flow& link);
  // Another view: nodes that are no longer alive in it are gone, whatever their links say.
  void on_view(const name_index& names);

  roles::legs& legs() { return legs_; }
  const roles::legs& legs() const { return legs_; }
  // Puts our Via on a request that is to leave on that flow. Also for what goes without a transaction.
  void put_via(sip::message& request, const sip::flow& flow, std::uint32_t loop_hash, const name_index& names) {
    vias_.put(request, flow, loop_hash, names);
  }
  std::string unique_tag();

private:
  struct place {
    context_ptr context;
    std::size_t branch = 0;
  };
  void on_leg_response(waiter_id who, sip::message response, const sip::arrival& from) override;
  void on_leg_failure(waiter_id who, sip::client_failure why) override;
  void on_leg_replaced(waiter_id who) override;
  void on_leg_ended(waiter_id who) override;

  void start_way(const context_ptr& c, std::size_t i);
  void start_link(const context_ptr& c, std::size_t i);
  void start_server(const context_ptr& c, std::size_t i);
  void next_target(const context_ptr& c, std::size_t i);
  void transmit(const context_ptr& c, std::size_t i, const sip::flow& flow);
  void transmit_link(const context_ptr& c, std::size_t i, const sip::flow& flow);
  void join_leg(const context_ptr& c, std::size_t i, const sip::flow& flow);
  void branch_response(const context_ptr& c, std::size_t i, sip::message response, const sip::arrival& from);
  bool goes_otherwise(const context_ptr& c, std::size_t i, int status);
  bool hop_lost(const context_ptr& c, std::size_t i);
  void link_failed(const context_ptr& c, std::size_t i);
  void retire_lost_hops(const context_ptr& c);
  void upstream_lost(const context_ptr& c);
  void orphan_ends(const context_ptr& c);
  void refuse_success(const context_ptr& c, std::size_t i);
  void arm(const context_ptr& c, std::size_t i);
  void arm_timer_c(const context_ptr& c, std::size_t i);
  void way_failed(const context_ptr& c, std::size_t i, int status);
  void branch_final(const context_ptr& c, std::size_t i, sip::message response);
  void finish(const context_ptr& c);
  void give_up(const context_ptr& c, std::size_t i, int status);
  void cancel_branch(const context_ptr& c, std::size_t i, std::string_view reason);
  void cancel_others(const context_ptr& c, std::size_t except, std::string_view reason);
  void stop_timers(branch& b);
  void pass(const context_ptr& c, sip::message response);
  void send_by_new_stream(const context& c, const sip::message& response);
  void maybe_forget(const context_ptr& c);

  worker_env& env_;
  server_resolver& resolver_;
  passage_observer& observer_;
  via_writer vias_;
  roles::legs legs_;
  std::unordered_map<sip::server_id, context_ptr> by_server_;
  std::unordered_map<sip::client_id, place> by_client_;
  std::unordered_map<waiter_id, place> by_waiter_;
  std::shared_ptr<bool> alive_;
};

} // namespace skald::roles
