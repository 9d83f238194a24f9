#pragma once
// Planted bugs of SIP and DNS: a process' ports, perverted, as in plants.hpp. Null: nothing is planted there.
#include "dnsupdate/zone_reader.hpp"
#include "roles/core/ports.hpp"
#include "sip/transaction/layer.hpp"
#include "tests/sim/options.hpp"

#include <memory>

namespace skald::sim {

std::unique_ptr<sip::message_sender> plant_sender(plant bug, sip::message_sender& real);
std::unique_ptr<dnsupdate::exchange_port> plant_exchange(plant bug, dnsupdate::exchange_port& real);
std::unique_ptr<dht::store_api> plant_sip_store(plant bug, dht::store_api& real);
// The facts that a zone keeper is given.
roles::facts_ptr plant_zone_facts(plant bug, roles::facts_ptr real);

} // namespace skald::sim
