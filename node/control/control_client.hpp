#pragma once
// The CLI's side of the control API: one HTTP exchange over the node's Unix socket.
#include "base/errors.hpp"

#include <map>
#include <string>

namespace skald::node {

struct control_answer {
  int status = 0;
  std::string body;
};
// A failure means that the node was not reached (exit code 3). `seconds`: how long to wait in all.
outcome<control_answer> ask_node(const std::string& socket_path, const std::string& method, const std::string& path,
                                 const std::map<std::string, std::string>& query = {}, const std::string& body = {},
                                 int seconds = 15);

} // namespace skald::node
