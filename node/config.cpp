#include "node/config.hpp"

#include "base/nearest.hpp"
#include "certs/files.hpp"
#include "dht/view/view.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

namespace skald::node {
namespace {

using nlohmann::json;
using reader = std::function<bool(node_config&, const json&)>; // false: wrong type or range

struct key_info {
  std::string_view key;
  std::string_view wants;
  reader read;
};

template <class U>
reader number(U node_config::*field, std::uint64_t low, std::uint64_t high) {
  return [=](node_config& c, const json& v) {
    if (!v.is_number_unsigned()) return false;
    const auto n = v.get<std::uint64_t>();
    if (n < low || n > high) return false;
    c.*field = static_cast<U>(n);
    return true;
  };
}

reader text(std::string node_config::*field) {
  return [=](node_config& c, const json& v) {
    if (!v.is_string()) return false;
    c.*field = v.get<std::string>();
    return true;
  };
}

reader texts(std::vector<std::string> node_config::*field) {
  return [=](node_config& c, const json& v) {
    if (!v.is_array() || !std::ranges::all_of(v, [](const json& e) { return e.is_string(); })) return false;
    c.*field = v.get<std::vector<std::string>>();
    return true;
  };
}

const std::vector<key_info>& known_keys() {
  static const std::vector<key_info> all = {
      {"state", "a path", text(&node_config::state_dir)},
      {"address", "a list of IP addresses", texts(&node_config::addresses)},
      {"advertise", "an IP address", text(&node_config::advertise)},
      {"memory_mb", "a number of MiB from 128", number(&node_config::memory_mb, 128, 1'000'000'000)},
      {"sip_port", "a port", number(&node_config::sip_port, 1, 65535)},
      {"sips_port", "a port", number(&node_config::sips_port, 1, 65535)},
      {"overlay_port", "a port", number(&node_config::overlay_port, 1, 65535)},
      {"link_port", "a port", number(&node_config::link_port, 1, 65535)},
      {"dns_port", "a port", number(&node_config::dns_port, 1, 65535)},
      {"workers", "a number from 1 to 16", number(&node_config::workers, 1, 16)},
      {"zone", "a text", text(&node_config::zone)},
      {"capacity", "a number from 1 to 65535", number(&node_config::capacity, 1, 65535)},
      {"roles", "a list of role names", texts(&node_config::roles)},
      {"seed", "a list of HOST:PORT", texts(&node_config::seeds)},
      {"found", "true or false",
       [](node_config& c, const json& v) {
         if (!v.is_boolean()) return false;
         c.found = v.get<bool>();
         return true;
       }},
      {"peer_ca", "a path", text(&node_config::peer_ca)},
      {"control", "a path", text(&node_config::control)},
      {"metrics", "IP:PORT", text(&node_config::metrics)},
      {"log_level", "debug, info, warning or error", text(&node_config::log_level)},
  };
  return all;
}

failure unknown_key(const std::string& path, const std::string& key) {
  std::vector<std::string_view> words;
  for (const key_info& k : known_keys()) words.push_back(k.key);
  const std::string near = nearest_word(key, words);
  return {fmt::format("{}: unknown key \"{}\"", path, key),
          near.empty() ? fmt::format("known keys: {}", fmt::join(words, ", ")) : fmt::format("did you mean \"{}\"?", near)};
}

} // namespace

outcome<void> merge_config_file(node_config& into, const std::string& path,
                                const std::vector<std::string>& given_flags) {
  std::ifstream in(path);
  if (!in) return std::unexpected(failure{fmt::format("{}: cannot be read", path), "check the path and its permissions"});
  std::stringstream text;
  text << in.rdbuf();
  const json parsed = json::parse(text.str(), nullptr, false, true);
  if (parsed.is_discarded() || !parsed.is_object())
    return std::unexpected(failure{fmt::format("{}: not a JSON object", path),
                                   "comments are allowed, a comma after the last entry is not"});
  for (const auto& [key, value] : parsed.items()) {
    const auto known = std::ranges::find(known_keys(), std::string_view(key), &key_info::key);
    if (known == known_keys().end()) return std::unexpected(unknown_key(path, key));
    if (std::ranges::find(given_flags, key) != given_flags.end()) continue;
    if (!known->read(into, value))
      return std::unexpected(failure{fmt::format("{}: \"{}\" must be {}", path, key, known->wants)});
  }
  return {};
}

outcome<void> check_config(const node_config& c) {
  for (const std::string& a : c.addresses)
    if (!ip_address::parse(a))
      return std::unexpected(failure{fmt::format("address \"{}\" is not an IP address", a), "give IPv4 or IPv6, no port"});
  if (!c.advertise.empty() && !ip_address::parse(c.advertise))
    return std::unexpected(failure{fmt::format("advertise \"{}\" is not an IP address", c.advertise)});
  const bool auto_roles = std::ranges::find(c.roles, "auto") != c.roles.end();
  if (auto_roles && c.roles.size() > 1) return std::unexpected(failure{"roles \"auto\" stands alone", "or name the roles"});
  for (const std::string& r : c.roles)
    if (!auto_roles && !dht::role_from(r))
      return std::unexpected(failure{fmt::format("role \"{}\" does not exist", r), "see: skald roles"});
  if (c.capacity < 1 || c.capacity > 65535)
    return std::unexpected(failure{fmt::format("capacity {} is not between 1 and 65535", c.capacity)});
  if (c.workers > 16) return std::unexpected(failure{fmt::format("workers {} is over 16", c.workers)});
  if (!c.metrics.empty() && !endpoint::parse(c.metrics))
    return std::unexpected(failure{fmt::format("metrics \"{}\" is not IP:PORT", c.metrics)});
  if (!c.peer_ca.empty())
    if (const auto read = certs::read_file(c.peer_ca); !read) return std::unexpected(read.error());
  constexpr std::string_view levels[] = {"debug", "info", "warning", "error"};
  if (std::ranges::find(levels, c.log_level) == std::end(levels))
    return std::unexpected(failure{fmt::format("log level \"{}\" is not one of debug, info, warning, error", c.log_level)});
  return {};
}

} // namespace skald::node
