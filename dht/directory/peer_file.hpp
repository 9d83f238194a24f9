#pragma once
// The peer file: who was there when this node last ran, for a start with no seed. A text; node/ reads and writes it.
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::dht {

struct known_peer {
  std::string name;
  node_id id;
  endpoint overlay;
  bool operator==(const known_peer&) const = default;
};
inline constexpr std::size_t peer_file_entries_max = 4096;
inline constexpr std::size_t peer_file_bytes_max = 1 << 20;

// {"version":1,"peers":[{"name":"node7","id":"<40 hex>","overlay":"192.0.2.7:4260"},…]}; entries over the limit are left out.
std::string write_peer_file(const std::vector<known_peer>& peers);
// Damaged entries are passed over: the file is only a help. An error: not such a file at all.
result<std::vector<known_peer>> read_peer_file(std::string_view text);

} // namespace skald::dht
