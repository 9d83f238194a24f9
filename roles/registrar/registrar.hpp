#pragma once
// The registrar (RFC 3261 §10.3, RFC 3327, RFC 5626; sip.md §4): runs at the owner of the To's AoR, answers 200 only when
// the store has acknowledged. One per worker; stateless but for what is in flight.
#include "roles/core/authenticator.hpp"
#include "roles/core/names.hpp"
#include "roles/core/ports.hpp"
#include "roles/registrar/update_rule.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skald::roles {

class registrar final : public registrar_port {
public:
  registrar(worker_env& env, authenticator& auth) : env_(env), auth_(auth) {}

  // Worker's thread. `reply` is called once, on this worker, maybe before handle() returns; not after the registrar's end.
  void handle(sip::message request, bool again, std::move_only_function<void(sip::message response, bool not_owner)> reply) override;

  void on_moved(std::function<void(const moved_binding&)> hook) override { on_moved_ = std::move(hook); }

  // For what follows from a registration (reg event): the bindings after an acknowledged write of this node. On this
  // worker.
  struct change {
    std::string aor;
    std::vector<binding> bindings;
  };
  void on_change(std::function<void(const change&)> hook) { on_change_ = std::move(hook); }

private:
  struct job;
  struct moved_flow; // of a binding that a write replaces or removes, as the rule saw it
  using moved_flows = std::vector<moved_flow>;
  static moved_flows replaced_flows(const std::vector<dht::change>& changes, const std::vector<dht::record>& current);
  using job_ptr = std::shared_ptr<job>;
  const name_index& names();
  std::optional<register_refusal> whose(job& j);
  void authenticated(const job_ptr& j, auth_result who);
  void answer_question(const job_ptr& j);
  void write(const job_ptr& j);
  void written(const job_ptr& j, dht::write_result result);
  void tell_moved(const job& j, const moved_flows& before);
  void refused_by_rule(const job_ptr& j, update_refusal why);
  std::vector<registration::gone> flows_gone(const job& j);
  void end(job& j, sip::message response, bool not_owner = false);
  void end_unavailable(job& j, bool not_owner = false);
  std::string tag();

  worker_env& env_;
  authenticator& auth_;
  std::unique_ptr<name_index> names_; // of the facts last seen
  std::function<void(const change&)> on_change_;
  std::function<void(const moved_binding&)> on_moved_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace skald::roles
