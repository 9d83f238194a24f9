#include "node/cluster/cluster_query.hpp"

#include "base/metrics.hpp"

#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

metrics::counter refused("skald_cluster_queries_refused_total", "Questions to the whole cluster refused: too many under way");

std::string text_of(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

} // namespace

cluster_query::cluster_query(const clock& clk, scheduler& timers, dht::link_port& links, answerer local)
    : clock_(clk), timers_(timers), links_(links), local_(std::move(local)) {}

bool cluster_query::send_request(const node_id& to, std::uint64_t id, const pending& p, const std::string& cursor) {
  const json request{{"id", id}, {"what", p.what}, {"arg", p.arg}, {"cursor", cursor}};
  return links_.send(to, {dht::frame_type::control_request, 1, text_of(request)});
}

// One page a turn: a hundred thousand rows at once would keep the cluster thread from all else, until others hold this
// node for dead.
void cluster_query::take_local(std::uint64_t id, const std::string& cursor) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  pending& p = found->second;
  json page = local_(p.what, p.arg, cursor);
  for (json& row : page["rows"]) p.gathered.rows.push_back(std::move(row));
  const std::string next = page.value("next", std::string{});
  p.local_done = next.empty() || p.gathered.rows.size() >= query_rows_max;
  if (p.local_done) return finish_if_done(id);
  expect_more(id, p);
  timers_.at(clock_.now() + query_page_pause, [this, id, next] { take_local(id, next); });
}

// Progress: the deadline is for silence.
void cluster_query::expect_more(std::uint64_t id, pending& p) {
  timers_.cancel(p.timer);
  p.timer = timers_.at(clock_.now() + query_deadline, [this, id] { finish(id); });
}

void cluster_query::finish_if_done(std::uint64_t id) {
  const auto found = pending_.find(id);
  if (found != pending_.end() && found->second.local_done && found->second.waiting.empty()) finish(id);
}

void cluster_query::ask(const dht::view& v, const std::string& what, const std::string& arg,
                        std::move_only_function<void(total)> done) {
  if (pending_.size() >= queries_max) {
    refused.add();
    total none;
    for (const dht::member& m : v.members)
      if (m.alive()) none.silent.push_back(m.body.name);
    done(std::move(none));
    return;
  }
  const std::uint64_t id = next_++;
  pending& p = pending_[id];
  p.what = what;
  p.arg = arg;
  p.done = std::move(done);
  for (const dht::member& m : v.members) {
    if (m.id == v.self || !m.alive()) continue;
    if (send_request(m.id, id, p, "")) p.waiting.emplace(m.id, m.body.name);
    else p.gathered.silent.push_back(m.body.name);
  }
  expect_more(id, p);
  take_local(id, {});
}

void cluster_query::finish(std::uint64_t id) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  pending p = std::move(found->second);
  pending_.erase(found);
  timers_.cancel(p.timer);
  for (const auto& [_, name] : p.waiting) p.gathered.silent.push_back(name);
  p.done(std::move(p.gathered));
}

void cluster_query::on_frame(const node_id& from, const dht::frame& f) {
  // Rows are objects of texts, numbers and lists of texts: what is deeper is left out, for copying and writing recurse.
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= query_depth_max; };
  const json j = json::parse(f.body, shallow, false);
  if (!j.is_object()) return;
  if (f.type == dht::frame_type::control_request) on_request(from, j);
  else on_reply(from, j);
}

void cluster_query::on_request(const node_id& from, const json& j) {
  if (!j.contains("id") || !j["id"].is_number_unsigned()) return;
  const auto text = [&](const char* key) { return j.contains(key) && j[key].is_string() ? j[key].get<std::string>() : std::string{}; };
  json reply = local_(text("what"), text("arg"), text("cursor"));
  reply["id"] = j["id"];
  links_.send(from, {dht::frame_type::control_reply, 1, text_of(reply)});
}

void cluster_query::on_reply(const node_id& from, const json& j) {
  if (!j.contains("id") || !j["id"].is_number_unsigned()) return;
  const auto id = j["id"].get<std::uint64_t>();
  const auto found = pending_.find(id);
  if (found == pending_.end() || !found->second.waiting.contains(from)) return;
  pending& p = found->second;
  if (j.contains("rows") && j["rows"].is_array())
    for (const json& row : j["rows"])
      if (row.is_object()) p.gathered.rows.push_back(row);
  const std::string next = j.contains("next") && j["next"].is_string() ? j["next"].get<std::string>() : std::string{};
  if (!next.empty() && p.gathered.rows.size() < query_rows_max && send_request(from, id, p, next)) return expect_more(id, p);
  p.waiting.erase(from);
  finish_if_done(id);
}

} // namespace skald::node
