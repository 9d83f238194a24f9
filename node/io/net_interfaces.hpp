#pragma once
// Which addresses of this machine the node serves by default (design §10).
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <vector>

namespace skald::node {

// The source addresses of the default routes, IPv4 first; a family without a default route is skipped. Sends nothing.
// Fails if there is none at all; the hint names --address.
outcome<std::vector<ip_address>> default_addresses();

} // namespace skald::node
