#pragma once
// Planted bugs: a node's ports, perverted. Random seeds have to find each of them, or the checks are worth nothing.
#include "dht/link/channel.hpp"
#include "dht/store/store.hpp"
#include "tests/sim/options.hpp"

#include <memory>
#include <optional>
#include <string_view>

namespace skald::dht {
class store;
}

namespace skald::sim {

class cluster;
class process;
class link_hub;

std::optional<plant> plant_from(std::string_view name);
// Null: nothing is planted there.
std::unique_ptr<dht::link_port> plant_links(cluster& home, process& p, link_hub& real);
std::unique_ptr<dht::store_api> plant_store(cluster& home, process& p, dht::store& real);

} // namespace skald::sim
