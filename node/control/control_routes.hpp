#pragma once
// What the control API answers. Requests come on HTTP threads; each is run on the cluster thread and the HTTP thread
// waits for the answer, at most control_wait.
#include "base/clock.hpp"
#include "dht/store/replicated.hpp"
#include "dht/swim/base_keeper.hpp"
#include "node/cluster/cluster_query.hpp"
#include "node/cluster/shared_state.hpp"
#include "node/control/control_server.hpp"
#include "node/io/loop.hpp"
#include "roles/core/ports.hpp"
#include "roles/core/subscriber.hpp"

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace skald::node {

inline constexpr auto control_wait = std::chrono::seconds(120); // an import of a large chunk takes its time

// What a draining node still waits for: calls that pass here, and INVITEs at its phones that have no answer yet.
struct drain_progress {
  std::size_t calls = 0, ringing = 0;
};

// Called on the cluster thread.
struct control_services {
  loop* events = nullptr;
  const skald::clock* time = nullptr;
  std::function<roles::facts_ptr()> facts;
  dht::store* store = nullptr;
  shared_state* shared = nullptr;
  cluster_query* query = nullptr;
  std::function<nlohmann::json()> status;                 // further lines of `skald status`
  std::function<nlohmann::json(bool setup)> dns;          // `skald dns`
  std::function<nlohmann::json()> local_tls;              // one row of `skald tls status`
  std::function<outcome<void>(const std::string& cert, const std::string& key, const std::string& domain)> check_tls;
  std::function<const dht::base_keeper&()> base;
  std::function<void()> accept_base;
  std::function<outcome<bool>(const std::string& der)> take_revocations; // true: it was new
  std::function<void()> drain;
  std::function<std::optional<drain_progress>()> drain_left; // nullopt: not draining
  std::function<void(std::move_only_function<void()>)> leave; // calls back when the others know
  dht::role_set built;
  std::function<dht::role_set()> permitted, claimed;
  std::function<outcome<dht::role_set>(const std::vector<std::string>& names)> set_roles; // what is claimed then
};

class control_routes {
public:
  using respond = std::move_only_function<void(control_reply)>;
  explicit control_routes(control_services s) : services_(std::move(s)) {}
  void set_query(cluster_query& q) { services_.query = &q; } // before the first request

  control_reply handle(const control_request& r);          // any thread; blocks
  // cluster_query's local answerer; cluster thread.
  nlohmann::json answer_page(const std::string& what, const std::string& arg, const std::string& cursor) const;

private:
  void dispatch(const control_request& r, respond done);
  void members(const control_request&, respond done);
  void owner(const control_request&, respond done);
  void registrations(const control_request&, respond done);
  void calls(const control_request&, respond done);
  void roles(const control_request&, respond done);
  void status(const control_request&, respond done);
  void partitions(const control_request&, respond done);   // control_partitions.cpp
  void accept_loss(const control_request&, respond done);
  nlohmann::json partition_rows(bool give_up) const;
  void dns(const control_request&, respond done);
  void set_dns(const control_request&, respond done);
  void leave(const control_request&, respond done);
  void settings(const control_request&, respond done);
  void set_setting(const control_request&, respond done);
  void tls(const control_request&, respond done);
  void set_tls(const control_request&, respond done);
  void unset_tls(const control_request&, respond done);
  // control_life.cpp
  void base(const control_request&, respond done);
  void accept_base(const control_request&, respond done);
  void revoke(const control_request&, respond done);
  void drain(const control_request&, respond done);
  void draining(const control_request&, respond done);
  void set_roles(const control_request&, respond done);
  // control_users.cpp
  void list_users(const control_request&, respond done);
  void add_user(const control_request&, respond done);
  void change_password(const control_request&, respond done);
  void delete_user(const control_request&, respond done);
  void delete_record(const std::string& aor, respond done);
  void import_users(const control_request&, respond done);
  // control_aliases.cpp
  void list_aliases(const control_request&, respond done);
  void add_alias(const control_request&, respond done);
  void delete_alias(const control_request&, respond done);
  void write_alias(roles::subscriber who, const std::string& alias, std::uint64_t read, respond done);
  using signposts_gone = std::move_only_function<void(dht::write_result, std::size_t dropped)>;
  void drop_signposts(const std::string& aor, std::vector<std::string> aliases, signposts_gone done, std::size_t dropped = 0);
  // The subscriber himself, or the refusal: nobody, an alias, in doubt.
  // `read`: dht::condition_of() what stands there.
  void with_subscriber(const std::string& aor, respond done, std::move_only_function<void(roles::subscriber, std::uint64_t read, respond)> then);
  // Changes his record over what was read: when somebody else changed it meanwhile it is read and changed again, so of two
  // commands at two nodes neither undoes the other.
  using subscriber_edit = std::function<void(roles::subscriber&)>;
  void edit_subscriber(const std::string& aor, subscriber_edit edit, respond done, std::move_only_function<void(dht::write_result, respond)> then,
                       unsigned tries = edit_tries_max);
  static constexpr unsigned edit_tries_max = 8;

  void ask_all(const std::string& what, const std::string& sort_key, respond done);
  void put_settings(std::vector<dht::change> changes, nlohmann::json answer, respond done);
  outcome<std::string> aor_of(const std::string& text) const;
  unix_ms now() const;

  control_services services_;
};

// Of the dead nodes that may hold what is seen nowhere else.
std::vector<std::string> missing_names(const dht::store_stats& s, const dht::view& v);
control_reply reply_json(const nlohmann::json& j, int status = 200);
control_reply reply_failure(const failure& f, int status);
failure is_an_alias(const roles::subscriber& signpost); // as an operator is told
control_reply reply_write(const dht::write_result& w, const nlohmann::json& answer); // 200, or why not
std::string metrics_text(); // Prometheus exposition format

} // namespace skald::node
