#pragma once
// One worker whole: the I/O of `worker`, and over it the SIP stack.
#include "node/dns/dns_client.hpp"
#include "node/io/system_rng.hpp"
#include "node/worker/sip_stack.hpp"
#include "node/worker/worker.hpp"
#include "roles/core/waiting_lines.hpp"

#include <memory>
#include <optional>
#include <string>

namespace skald::node {

// Serving from the lines goes on for that long before sockets are read again; the other value while reading is behind: what
// is lost in the kernel, or waits there, are calls too.
inline constexpr duration serve_time = milliseconds(2), serve_time_behind = duration(500);
inline constexpr duration hold_up_pause = milliseconds(5); // until the lines are looked at again when nobody could be served

class worker_unit final : worker_user, request_keeper, turn_hook {
public:
  // All arguments outlive the unit. Made on the starting thread, before the worker starts.
  static outcome<std::unique_ptr<worker_unit>> make(worker& io, const clock& clk, roles::cluster_port& cluster,
                                                    roles::replay_memory& replays, roles::edge_state& edge);

  ~worker_unit();

  roles::core& core() { return stack_.core(); }

private:
  worker_unit(worker& io, const clock& clk, roles::cluster_port& cluster, roles::replay_memory& replays,
              roles::edge_state& edge, std::unique_ptr<dns_client> dns);

  void on_message(sip::message m, const sip::arrival& from) override { stack_.receive(std::move(m), from); }
  bool takes(std::string_view bytes, const sip::arrival& from) override;
  void on_flow_gone(const sip::flow& f) override { stack_.flow_gone(f); }
  bool at_once(roles::urgency u, const sip::arrival& from) override;
  void keep(roles::urgency u, sip::message m, const sip::arrival& from) override;
  void on_turn_end() override;
  void watch_load();
  // What waits: unread, or parsed because only that shows how urgent it is.
  struct kept {
    std::string bytes;
    std::optional<sip::message> parsed;
    sip::arrival from;
  };
  void wait_in_line(roles::urgency u, kept what, std::size_t bytes);
  void serve_lines();
  void serve_soon();
  void dispose(kept what, roles::urgency u, roles::fate how);

  worker& io_;
  const clock& clock_;
  system_rng random_;
  roles::waiting_lines<kept> lines_;
  timer_id load_timer_ = timer_id::none, serve_timer_ = timer_id::none;
  duration unread_waited_{0}; // in the kernel: the longest since lines were served
  bool serving_soon_ = false, turn_counted_ = false;
  std::unique_ptr<dns_client> dns_;
  sip_stack stack_;
};

} // namespace skald::node
