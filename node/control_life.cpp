// The control API's part in the life of the cluster: who belongs to it.
#include "node/control_routes.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

std::string name_of(const dht::view& v, const node_id& id) {
  const dht::member* m = v.find(id);
  return m != nullptr && !m->body.name.empty() ? m->body.name : id.hex();
}

json base_of(const dht::view& v, const dht::base_keeper& b) {
  json members = json::array(), missing = json::array();
  for (const node_id& id : b.current().members) {
    const dht::member* m = v.find(id);
    const bool here = m != nullptr && m->alive();
    members.push_back({{"id", id.hex()}, {"name", name_of(v, id)}, {"state", m != nullptr ? dht::to_string(m->state) : "unknown"}});
    if (!here && (m == nullptr || m->state != dht::member_state::left)) missing.push_back(name_of(v, id));
  }
  return {{"epoch", b.current().epoch}, {"members", members}, {"counted", b.counted()}, {"here", b.here()},
          {"majority", b.majority()}, {"isolated", b.isolated()}, {"missing", missing}};
}

} // namespace

void control_routes::base(const control_request&, respond done) {
  done(reply_json(base_of(*services_.facts()->view, services_.base())));
}

void control_routes::accept_base(const control_request&, respond done) {
  const json before = base_of(*services_.facts()->view, services_.base());
  services_.accept_base();
  json out = base_of(*services_.facts()->view, services_.base());
  out["given_up"] = before["missing"];
  out["risk"] = before["missing"].empty()
                    ? "none: nobody was missing"
                    : "what only the given-up members hold is out of reach until they return; if any of them still runs, two clusters now acknowledge changes, "
                      "and of two changes of one thing the later one stays when they meet";
  done(reply_json(out));
}

} // namespace skald::node
