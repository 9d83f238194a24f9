#include "node/dns_unit.hpp"

#include <nlohmann/json.hpp>

namespace skald::node {
struct dns_unit::impl {};
dns_unit::dns_unit(dns_unit_config, loop&, const clock&, rng&, sip::dns_port&, std::function<void(bool)>) {}
dns_unit::~dns_unit() = default;
outcome<void> dns_unit::bind() { return {}; }
void dns_unit::start() {}
void dns_unit::on_facts(const roles::facts_ptr&, bool) {}
nlohmann::json dns_unit::status(bool) const { return nlohmann::json::object(); }
} // namespace skald::node
