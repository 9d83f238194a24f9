// `skald partitions`: what may be missing on which node, whom it waits for, and giving that up (consistency.md §4).
#include "node/control/control_routes.hpp"

#include "base/log.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

std::string rfc3339(unix_ms t) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(t / 1000))); }

std::string name_of(const dht::view& v, const node_id& id) {
  const dht::member* m = v.find(id);
  return m != nullptr && !m->body.name.empty() ? m->body.name : id.hex();
}

} // namespace

std::vector<std::string> missing_names(const dht::store_stats& s, const dht::view& v) {
  std::vector<std::string> out;
  for (const dht::missing_source& m : s.missing)
    if (!m.alive) out.push_back(name_of(v, m.id));
  return out;
}

// One row for each node that this one has yet to merge with. "dead": only its return, or giving up, ends that.
json control_routes::partition_rows(bool give_up) const {
  const auto view = services_.facts()->view;
  const dht::store_stats s = services_.store->stats();
  json rows = json::array();
  for (const dht::missing_source& m : s.missing) {
    if (give_up && m.alive) continue;
    rows.push_back({{"node", view->me().body.name}, {"state", m.alive ? "merging" : "dead"}, {"missing", name_of(*view, m.id)},
                    {"id", m.id.hex()}, {"partitions", m.partitions}, {"since", rfc3339(m.since)}});
  }
  if (give_up) {
    for (const node_id& id : services_.store->accept_loss())
      log::warning("store", fmt::format("given up by the operator: what {} alone may hold", name_of(*view, id)));
  }
  return rows;
}

void control_routes::partitions(const control_request&, respond done) {
  services_.query->ask(*services_.facts()->view, "partitions", "", [done = std::move(done)](cluster_query::total t) mutable {
    json rows = std::move(t.rows);
    if (rows.is_null()) rows = json::array();
    for (const std::string& name : t.silent)
      rows.push_back({{"node", name}, {"state", "no answer"}, {"missing", ""}, {"id", ""}, {"partitions", 0}, {"since", ""}});
    done(reply_json(rows));
  });
}

// At every node, or what one gives up comes back from another.
void control_routes::accept_loss(const control_request&, respond done) {
  services_.query->ask(*services_.facts()->view, "accept_loss", "", [done = std::move(done)](cluster_query::total t) mutable {
    if (!t.silent.empty())
      return done(reply_failure({fmt::format("these nodes did not answer, and may still wait: {}", fmt::join(t.silent, ", ")), "say it again"}, 503));
    json names = json::array();
    std::size_t most = 0;
    for (const json& row : t.rows) {
      const auto missing = row.find("missing");
      if (missing != row.end() && std::find(names.begin(), names.end(), *missing) == names.end()) names.push_back(*missing);
      if (const auto n = row.find("partitions"); n != row.end() && n->is_number_unsigned()) most = std::max(most, n->get<std::size_t>());
    }
    done(reply_json({{"given_up", names}, {"partitions", most}}));
  });
}

} // namespace skald::node
