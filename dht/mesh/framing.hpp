#pragma once
// What stands inside a DTLS record of the mesh. The first byte names the channel; a message that does not fit one
// record is cut into fragments, which carry the channel with the top bit set:
//
//   0        1                 5       6       7
//   +--------+-----------------+-------+-------+----------
//   |chan|80 |  message id u32 | index | count | bytes ...
//   +--------+-----------------+-------+-------+----------
//
// Pure; one reassembler per session, so what it holds is bounded per authenticated peer.
#include "base/clock.hpp"
#include "base/errors.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dht {

enum class mesh_channel : std::uint8_t { kademlia = 0, gossip = 1 };

inline constexpr std::size_t mesh_message_bytes_max = 64 * 1024;
inline constexpr std::size_t mesh_fragments_max = 128;
inline constexpr std::size_t mesh_partial_max = 4;         // messages in assembly per session
inline constexpr seconds mesh_partial_time_max{2};         // then an incomplete message is given up

// The plaintexts of the records that carry `bytes`, each at most `record_bytes` long. Empty: the message is too large.
std::vector<std::string> cut_message(mesh_channel c, std::string_view bytes, std::size_t record_bytes, std::uint32_t message_id);

struct mesh_message {
  mesh_channel channel{};
  std::string bytes;
};

class reassembler {
public:
  // A message if `record` completes one; nothing if more fragments are needed; an error for what follows no rule.
  result<std::optional<mesh_message>> take(std::string_view record, mono_time now);
  std::size_t bytes_held() const;

private:
  struct partial {
    std::uint32_t id = 0;
    mesh_channel channel{};
    std::vector<std::string> pieces;
    std::size_t missing = 0, bytes = 0;
    mono_time begun{};
  };
  partial* find_or_begin(std::uint32_t id, mesh_channel c, std::size_t count, mono_time now);

  std::vector<partial> partials_; // oldest first
};

} // namespace skald::dht
