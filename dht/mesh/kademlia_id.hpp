#pragma once
// The DHT id that a Kademlia packet claims for its sender, so that the mesh can compare it with the certificate's.
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <optional>
#include <string_view>

namespace skald::dht {

// `packet` is OpenDHT's msgpack map; the sender's id stands in it as a.id (queries) and r.id (replies). Nothing: a kind
// of packet that carries none (value parts, some errors). Errors: not msgpack, a query or reply without an id, or ids
// that contradict each other.
result<std::optional<node_id>> claimed_id(std::string_view packet);

} // namespace skald::dht
