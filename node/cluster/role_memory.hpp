#pragma once
// Roles that an operator set while the node ran (`skald roles set`): they hold after a restart too, for as long as the
// configuration says what it said then. Who changes --roles or the configuration file has spoken later, and is obeyed.
#include "base/errors.hpp"

#include <optional>
#include <string>
#include <vector>

namespace skald::node {

// As in `skald roles set`: names, or "auto". nullopt: none were set, or the configuration is another since, or the file
// cannot be read (logged).
std::optional<std::vector<std::string>> kept_roles(const std::string& state_dir, const std::vector<std::string>& configured);
outcome<void> keep_roles(const std::string& state_dir, const std::vector<std::string>& set, const std::vector<std::string>& configured);
outcome<void> forget_roles(const std::string& state_dir);

} // namespace skald::node
