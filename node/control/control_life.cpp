// The control API's part in the life of the cluster: who belongs to it.
#include "base/encoding.hpp"
#include "node/control/control_routes.hpp"

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

void control_routes::revoke(const control_request& r, respond done) {
  const json body = json::parse(r.body, nullptr, false);
  const std::string text = body.is_object() && body.contains("crl") && body["crl"].is_string() ? body["crl"].get<std::string>() : std::string{};
  const auto der = from_base64(text);
  if (!der || der->empty()) return done(reply_failure({"no revocation list was given"}, 400));
  const auto taken = services_.take_revocations(*der);
  if (!taken) return done(reply_failure(taken.error(), 422));
  done(reply_json({{"taken", *taken}, {"note", *taken ? "on its way to all members" : "this list, or a newer one, was known"}}));
}

void control_routes::drain(const control_request& r, respond done) {
  services_.drain();
  draining(r, std::move(done));
}

void control_routes::draining(const control_request&, respond done) {
  const auto left = services_.drain_left();
  const drain_progress p = left.value_or(drain_progress{});
  done(reply_json({{"draining", left.has_value()}, {"calls", p.calls}, {"ringing", p.ringing}}));
}

void control_routes::set_roles(const control_request& r, respond done) {
  const json body = json::parse(r.body, nullptr, false);
  std::vector<std::string> names;
  if (body.is_object() && body.contains("roles") && body["roles"].is_array())
    for (const json& name : body["roles"])
      if (name.is_string()) names.push_back(name.get<std::string>());
  const auto set = services_.set_roles(names);
  if (!set) return done(reply_failure(set.error(), 400));
  done(reply_json({{"claimed", dht::names(*set)}}));
}

} // namespace skald::node
