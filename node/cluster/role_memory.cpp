#include "node/cluster/role_memory.hpp"

#include "base/log.hpp"
#include "node/disk/state_dir.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace skald::node {

using nlohmann::json;

namespace {

std::string path_in(const std::string& state_dir) { return state_dir + "/roles.json"; }

// nullopt: not a list of names.
std::optional<std::vector<std::string>> names(const json& j, const char* key) {
  const auto list = j.is_object() ? j.find(key) : j.end();
  if (!j.is_object() || list == j.end() || !list->is_array()) return std::nullopt;
  if (!std::ranges::all_of(*list, [](const json& name) { return name.is_string(); })) return std::nullopt;
  return list->get<std::vector<std::string>>();
}

std::vector<std::string> sorted(std::vector<std::string> v) {
  std::ranges::sort(v);
  return v;
}

} // namespace

std::optional<std::vector<std::string>> kept_roles(const std::string& state_dir, const std::vector<std::string>& configured) {
  const std::string path = path_in(state_dir);
  if (::access(path.c_str(), F_OK) != 0) return std::nullopt;
  const auto text = read_file(path);
  const json j = text ? json::parse(*text, nullptr, false) : json(json::value_t::discarded);
  const auto set = names(j, "set"), then = names(j, "configured");
  if (!set || !then || set->empty()) {
    log::error("node", fmt::format("{} cannot be read; the configured roles hold", path));
    return std::nullopt;
  }
  if (sorted(*then) == sorted(configured)) return set;
  log::info("node", "the configured roles were changed: what was set before by hand holds no more");
  return std::nullopt;
}

outcome<void> keep_roles(const std::string& state_dir, const std::vector<std::string>& set, const std::vector<std::string>& configured) {
  return write_file(path_in(state_dir), json{{"set", set}, {"configured", configured}}.dump());
}

outcome<void> forget_roles(const std::string& state_dir) {
  const std::string path = path_in(state_dir);
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return std::unexpected(failure{fmt::format("{}: cannot be removed: {}", path, std::strerror(errno))});
}

} // namespace skald::node
