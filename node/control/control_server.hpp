#pragma once
// The control API: HTTP and JSON on a Unix socket (0600), and Prometheus text besides. libmicrohttpd runs its own
// threads; a handler is called on one of them, may block, and answers by value.
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace skald::node {

struct control_request {
  std::string method, path, body;
  std::map<std::string, std::string> query;
  std::string arg(const std::string& name) const {
    const auto it = query.find(name);
    return it == query.end() ? std::string{} : it->second;
  }
};
struct control_reply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::function<std::string()> finish{}; // makes the body on the HTTP thread, where that is much work
};
using control_handler = std::function<control_reply(const control_request&)>;

inline constexpr std::size_t control_body_bytes_max = 8 << 20;

class control_server {
public:
  // Replaces a stale socket file. `metrics_at`: also serve GET /metrics over TCP there (nothing else).
  static outcome<std::unique_ptr<control_server>> start(const std::string& socket_path, const endpoint* metrics_at,
                                                        control_handler handler);
  ~control_server(); // waits for handlers that run

  struct impl;

private:
  explicit control_server(std::unique_ptr<impl> i);
  std::unique_ptr<impl> impl_;
};

} // namespace skald::node
