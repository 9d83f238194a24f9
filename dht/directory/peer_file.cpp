#include "dht/directory/peer_file.hpp"

#include <nlohmann/json.hpp>

namespace skald::dht {

std::string write_peer_file(const std::vector<known_peer>& peers) {
  auto list = nlohmann::json::array();
  for (const auto& p : peers) {
    if (list.size() == peer_file_entries_max) break;
    list.push_back({{"name", p.name}, {"id", p.id.hex()}, {"overlay", p.overlay.text()}});
  }
  return nlohmann::json({{"version", 1}, {"peers", std::move(list)}}).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

result<std::vector<known_peer>> read_peer_file(std::string_view text) {
  if (text.size() > peer_file_bytes_max) return std::unexpected(errc::too_large);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("peers") || !json["peers"].is_array()) return std::unexpected(errc::malformed);
  std::vector<known_peer> out;
  const auto text_in = [](const nlohmann::json& entry, const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  for (const auto& entry : json["peers"]) {
    if (!entry.is_object() || out.size() == peer_file_entries_max) continue;
    const auto id = node_id::from_hex(text_in(entry, "id"));
    const auto where = endpoint::parse(text_in(entry, "overlay"));
    if (id && where && where->port != 0) out.push_back({text_in(entry, "name"), *id, *where});
  }
  return out;
}

} // namespace skald::dht
