#pragma once
// One question put to every live member, and the answers put together: how any node answers for the whole cluster
// (`skald registrations`, `skald calls`, `skald user list`, `skald tls status`). Cluster thread only.
#include "base/clock.hpp"
#include "base/scheduler.hpp"
#include "dht/link/channel.hpp"
#include "dht/view/view.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace skald::node {

inline constexpr duration query_deadline = seconds(2);
inline constexpr std::size_t queries_max = 256;        // under way at once; over it a question is refused
inline constexpr std::size_t query_page_rows = 500;   // rows in one reply; the asker goes on from the cursor
inline constexpr duration query_page_pause = milliseconds(1); // between this node's own pages
inline constexpr int query_depth_max = 8;              // nesting of a reply
inline constexpr std::size_t query_rows_max = 1'000'000;

class cluster_query {
public:
  // Answers one page of a question from what this node has: {"rows": [...], "next": cursor or ""}.
  using answerer = std::function<nlohmann::json(const std::string& what, const std::string& arg, const std::string& cursor)>;
  struct total {
    std::vector<nlohmann::json> rows;
    std::vector<std::string> silent; // names of members that did not answer
  };

  cluster_query(const clock& clk, scheduler& timers, dht::link_port& links, answerer local);

  void ask(const dht::view& v, const std::string& what, const std::string& arg, std::move_only_function<void(total)> done);
  // Frames control_request and control_reply, from the link.
  void on_frame(const node_id& from, const dht::frame& f);

private:
  struct pending {
    total gathered;
    std::map<node_id, std::string> waiting; // by member: its name
    std::string what, arg;
    timer_id timer{};
    bool local_done = false;
    std::move_only_function<void(total)> done;
  };
  void on_request(const node_id& from, const nlohmann::json& j);
  void on_reply(const node_id& from, const nlohmann::json& j);
  void take_local(std::uint64_t id, const std::string& cursor);
  void expect_more(std::uint64_t id, pending& p);
  void finish_if_done(std::uint64_t id);
  void finish(std::uint64_t id);
  bool send_request(const node_id& to, std::uint64_t id, const pending& p, const std::string& cursor);

  const clock& clock_;
  scheduler& timers_;
  dht::link_port& links_;
  answerer local_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, pending> pending_;
};

} // namespace skald::node
