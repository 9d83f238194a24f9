#pragma once
// Where a node keeps its files, and where its control socket is (design §10 "State").
#include "base/errors.hpp"

#include <string>
#include <vector>

namespace skald::node {

// As root /var/lib/skald/NAME, else ~/.local/state/skald/NAME.
std::string default_state_dir(const std::string& name);
// Creates it with 0700, or checks that nobody else can enter it.
outcome<void> make_state_dir(const std::string& dir);
// An exclusive lock on DIR/lock for the life of the process: two nodes on one directory would eat each other's data.
outcome<int> lock_state_dir(const std::string& dir);

// Control sockets of this user's nodes that accept connections.
std::vector<std::string> live_control_sockets();
// `asked`, or the only live one; several: an error that lists them.
outcome<std::string> find_control_socket(const std::string& asked);

// Small files written whole: to a temporary beside it, synced, renamed. 0600.
outcome<void> write_file(const std::string& path, std::string_view content);
outcome<std::string> read_file(const std::string& path);

} // namespace skald::node
