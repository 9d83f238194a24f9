#include "node/control/control_routes.hpp"

#include "base/metrics.hpp"
#include "node/dns/tsig_file.hpp"
#include "node/version.hpp"
#include "roles/core/binding.hpp"
#include "roles/core/dialog_record.hpp"
#include "roles/core/subscriber.hpp"
#include "sip/token/token.hpp"

#include <algorithm>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <future>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

std::string rfc3339(unix_ms t) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(t / 1000))); }

std::string name_of(const dht::view& v, const node_id& id) {
  const dht::member* m = v.find(id);
  return m != nullptr && !m->body.name.empty() ? m->body.name : id.hex();
}

json member_row(const dht::member& m) {
  return {{"id", m.id.hex()},
          {"name", m.body.name},
          {"state", dht::to_string(m.state)},
          {"suspect", m.suspect},
          {"roles", dht::names(m.body.roles)},
          {"zone", m.body.zone},
          {"address", m.body.addresses.empty() ? std::string{} : m.body.addresses.front().text()},
          {"capacity", m.body.capacity},
          {"software", m.body.software}};
}

json binding_row(const roles::binding& b, unix_ms now) {
  return {{"aor", b.aor},
          {"contact", b.contact},
          {"expires_s", std::max<std::int64_t>(0, (b.expires - now + 999) / 1000)},
          {"edge", b.edge},
          {"q", b.q / 1000.0},
          {"instance", b.instance},
          {"user_agent", b.user_agent}};
}

// The nodes that a dialog passes: those whose tokens stand in its Record-Route.
json edges_of(const roles::dialog_record& d, const roles::cluster_facts& facts) {
  json out = json::array();
  for (const std::string& text : {d.caller.token, d.callee.token}) {
    const auto token = sip::open_token(text, *facts.keys);
    if (!token) continue;
    for (const dht::member& m : facts.view->members)
      if (m.id.head() == token->node && std::find(out.begin(), out.end(), json(m.body.name)) == out.end()) out.push_back(m.body.name);
  }
  return out;
}

json dialog_row(const roles::dialog_record& d, const json& edges) {
  return {{"call_id", d.call_id}, {"caller", d.caller.aor.empty() ? d.caller.contact : d.caller.aor},
          {"callee", d.callee.aor.empty() ? d.callee.contact : d.callee.aor}, {"since", rfc3339(d.started)}, {"edges", edges}};
}

void sort_by(json& rows, const std::string& key) {
  static const std::string none;
  const auto text = [&](const json& row) -> const std::string& {
    const auto found = row.find(key);
    return found != row.end() && found->is_string() ? found->get_ref<const std::string&>() : none;
  };
  std::sort(rows.begin(), rows.end(), [&](const json& a, const json& b) { return text(a) < text(b); });
}

json parse_body(const control_request& r) { return json::parse(r.body, nullptr, false); }
std::string field(const json& j, const char* key) {
  return j.is_object() && j.contains(key) && j[key].is_string() ? j[key].get<std::string>() : std::string{};
}

} // namespace

control_reply reply_json(const json& j, int status) { return {status, j.dump(-1, ' ', false, json::error_handler_t::replace)}; }

control_reply reply_failure(const failure& f, int status) {
  json out{{"error", f.what}};
  if (!f.hint.empty()) out["hint"] = f.hint;
  return reply_json(out, status);
}

control_reply reply_write(const dht::write_result& w, const json& answer) {
  if (w.outcome) return reply_json(answer);
  switch (w.outcome.error()) {
  case dht::write_error::not_owner: return reply_failure({"the owner changed meanwhile", "try again"}, 503);
  case dht::write_error::not_acknowledged: return reply_failure({"not enough nodes could confirm the change", "see: skald members"}, 503);
  case dht::write_error::overloaded: return reply_failure({"too many changes of this key are waiting", "try again"}, 503);
  case dht::write_error::refused:
    if (w.refusal == dht::put_conflict) return reply_failure({"somebody else changed it in the same moment", "try again"}, 409);
    return reply_failure({"refused"}, 409);
  case dht::write_error::not_active: return reply_failure({"this node is not active yet", "see: skald status"}, 503);
  }
  return reply_failure({"refused"}, 500);
}

std::string metrics_text() {
  std::string out;
  std::string_view last;
  for (const metrics::sample& s : metrics::collect()) {
    if (s.name != last) out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", s.name, s.help, s.name, s.is_counter ? "counter" : "gauge");
    last = s.name;
    out += s.labels.empty() ? fmt::format("{} {}\n", s.name, s.value) : fmt::format("{}{{{}}} {}\n", s.name, s.labels, s.value);
  }
  return out;
}

control_reply control_routes::handle(const control_request& r) {
  if (r.path == "/metrics" && r.method == "GET") return {200, metrics_text(), "text/plain; version=0.0.4"};
  auto promise = std::make_shared<std::promise<control_reply>>();
  auto answer = promise->get_future();
  if (!services_.events->post([this, r, promise] { dispatch(r, [promise](control_reply reply) { promise->set_value(std::move(reply)); }); }))
    return reply_failure({"the node is overloaded", "try again"}, 503);
  if (answer.wait_for(control_wait) != std::future_status::ready) return reply_failure({"no answer in time", "see: skald status"}, 504);
  control_reply reply = answer.get();
  if (reply.finish) reply.body = reply.finish();
  return reply;
}

void control_routes::dispatch(const control_request& r, respond done) {
  struct route {
    std::string_view method, path;
    void (control_routes::*run)(const control_request&, respond);
  };
  static constexpr route table[] = {
      {"GET", "/v1/members", &control_routes::members},
      {"GET", "/v1/owner", &control_routes::owner},
      {"GET", "/v1/registrations", &control_routes::registrations},
      {"GET", "/v1/calls", &control_routes::calls},
      {"GET", "/v1/roles", &control_routes::roles},
      {"GET", "/v1/status", &control_routes::status},
      {"GET", "/v1/partitions", &control_routes::partitions},
      {"POST", "/v1/partitions/accept-loss", &control_routes::accept_loss},
      {"GET", "/v1/dns", &control_routes::dns},
      {"PUT", "/v1/dns", &control_routes::set_dns},
      {"POST", "/v1/leave", &control_routes::leave},
      {"GET", "/v1/base", &control_routes::base},
      {"POST", "/v1/base/accept", &control_routes::accept_base},
      {"POST", "/v1/revocations", &control_routes::revoke},
      {"POST", "/v1/drain", &control_routes::drain},
      {"GET", "/v1/drain", &control_routes::draining},
      {"PUT", "/v1/roles", &control_routes::set_roles},
      {"GET", "/v1/settings", &control_routes::settings},
      {"PUT", "/v1/settings", &control_routes::set_setting},
      {"GET", "/v1/tls", &control_routes::tls},
      {"PUT", "/v1/tls", &control_routes::set_tls},
      {"DELETE", "/v1/tls", &control_routes::unset_tls},
      {"GET", "/v1/users", &control_routes::list_users},
      {"POST", "/v1/users", &control_routes::add_user},
      {"PUT", "/v1/users", &control_routes::change_password},
      {"DELETE", "/v1/users", &control_routes::delete_user},
      {"POST", "/v1/users/import", &control_routes::import_users},
      {"GET", "/v1/users/aliases", &control_routes::list_aliases},
      {"POST", "/v1/users/aliases", &control_routes::add_alias},
      {"DELETE", "/v1/users/aliases", &control_routes::delete_alias},
  };
  const auto found = std::ranges::find_if(table, [&](const route& x) { return x.method == r.method && x.path == r.path; });
  if (found == std::end(table)) return done(reply_failure({fmt::format("no such request: {} {}", r.method, r.path)}, 404));
  (this->*found->run)(r, std::move(done));
}

unix_ms control_routes::now() const { return services_.store->cluster_time(); }

outcome<std::string> control_routes::aor_of(const std::string& text) const {
  return roles::read_aor(text, services_.facts()->config->default_domain);
}

void control_routes::members(const control_request&, respond done) {
  json rows = json::array();
  for (const dht::member& m : services_.facts()->view->members)
    if (m.alive()) rows.push_back(member_row(m));
  sort_by(rows, "name");
  done(reply_json(rows));
}

void control_routes::owner(const control_request& r, respond done) {
  const auto aor = aor_of(r.arg("aor"));
  if (!aor) return done(reply_failure(aor.error(), 400));
  const auto facts = services_.facts();
  const ring_key key = dht::key_of_aor(*aor);
  json out{{"aor", *aor}, {"key", key.hex()}, {"partition", std::to_underlying(partition_of(key))}, {"owner", nullptr}, {"copies", json::array()}};
  const dht::ring::list owners = facts->registrars->at(key);
  for (const node_id* id : owners.span())
    if (out["owner"].is_null()) out["owner"] = name_of(*facts->view, *id);
    else out["copies"].push_back(name_of(*facts->view, *id));
  done(reply_json(out));
}

void control_routes::registrations(const control_request& r, respond done) {
  if (r.arg("aor").empty()) return ask_all("registrations", "aor", std::move(done));
  const auto aor = aor_of(r.arg("aor"));
  if (!aor) return done(reply_failure(aor.error(), 400));
  services_.store->fetch(dht::table::bindings, dht::key_of_aor(*aor), [this, done = std::move(done)](dht::fetch_result f) mutable {
    json rows = json::array();
    for (const dht::record& rec : f.records)
      if (const auto b = roles::decode_binding(rec.value)) rows.push_back(binding_row(*b, now()));
    if (rows.empty() && !f.firm) return done(reply_failure({"no node that must know could be asked", "see: skald members"}, 503));
    done(reply_json(rows));
  });
}

void control_routes::calls(const control_request&, respond done) { ask_all("calls", "since", std::move(done)); }

void control_routes::ask_all(const std::string& what, const std::string& sort_key, respond done) {
  services_.query->ask(*services_.facts()->view, what, "", [sort_key, done = std::move(done)](cluster_query::total t) mutable {
    // Sorting and writing a hundred thousand rows takes a while: that is the HTTP thread's, not the cluster's.
    auto rows = std::make_shared<json>(std::move(t.rows));
    if (t.silent.empty())
      return done({.finish = [rows, sort_key] {
        if (rows->is_null()) *rows = json::array();
        sort_by(*rows, sort_key);
        return reply_json(*rows).body;
      }});
    done(reply_failure({fmt::format("these nodes did not answer: {}", fmt::join(t.silent, ", ")), "try again; see: skald members"}, 503));
  });
}

json control_routes::answer_page(const std::string& what, const std::string& arg, const std::string& cursor) const {
  json rows = json::array();
  std::string next = from_hex(cursor).value_or(std::string{}); // the store's cursor is bytes, JSON wants text
  const auto take = [&](dht::table t, auto&& row_of) {
    for (const dht::record& rec : services_.store->page(t, next, query_page_rows))
      if (json row = row_of(rec); !row.is_null()) rows.push_back(std::move(row));
  };
  if (what == "registrations") {
    take(dht::table::bindings, [&](const dht::record& rec) {
      const auto b = roles::decode_binding(rec.value);
      return b ? binding_row(*b, now()) : json();
    });
  } else if (what == "edge") { // a node that restarted: which bindings came through it
    take(dht::table::bindings, [&](const dht::record& rec) {
      const auto b = roles::decode_binding(rec.value);
      return b && b->edge == arg ? json{{"binding", to_base64(rec.value)}} : json();
    });
  } else if (what == "calls") {
    take(dht::table::dialogs, [&](const dht::record& rec) {
      const auto d = roles::decode_dialog(rec.value);
      return d && d->ended == roles::dialog_end::no ? dialog_row(*d, edges_of(*d, *services_.facts())) : json();
    });
  } else if (what == "users") {
    take(dht::table::subscribers, [&](const dht::record& rec) {
      const auto s = roles::decode_subscriber(rec.value);
      if (!s || !s->alias_of.empty()) return json();
      json digests = json::array();
      if (!s->hashes.md5_user.empty()) digests.push_back("MD5");
      if (!s->hashes.sha256_user.empty()) digests.push_back("SHA-256");
      return json{{"aor", s->aor}, {"owner", services_.facts()->view->me().body.name}, {"digests", digests}, {"aliases", s->aliases}};
    });
  } else if (what == "tls") {
    rows.push_back(services_.local_tls());
    next.clear();
  } else if (what == "partitions" || what == "accept_loss") {
    rows = partition_rows(what == "accept_loss");
    next.clear();
  } else {
    next.clear();
  }
  return {{"rows", rows}, {"next", to_hex(next)}};
}

void control_routes::roles(const control_request&, respond done) {
  json rows = json::array();
  const auto view = services_.facts()->view;
  for (std::uint16_t bit = 1; bit <= std::to_underlying(dht::role::peering); bit = static_cast<std::uint16_t>(bit * 2)) {
    const auto role = static_cast<dht::role>(bit);
    json holders = json::array();
    for (const dht::member& m : view->members)
      if (m.alive() && m.body.roles.has(role)) holders.push_back(m.body.name);
    rows.push_back({{"role", dht::to_string(role)}, {"built", services_.built.has(role)}, {"permitted", services_.permitted().has(role)},
                    {"claimed", services_.claimed().has(role)}, {"holders", holders}});
  }
  done(reply_json(rows));
}

void control_routes::status(const control_request&, respond done) {
  const auto facts = services_.facts();
  const dht::store_stats s = services_.store->stats();
  const dht::member& me = facts->view->me();
  json out{{"name", me.body.name},
           {"domain", facts->config->default_domain},
           {"state", dht::to_string(me.state)},
           {"serving", facts->serving},
           {"members", std::ranges::count_if(facts->view->members, [](const dht::member& m) { return m.alive(); })},
           {"view", facts->view->stamp.text()},
           {"base_epoch", services_.base().current().epoch},
           {"base_members", services_.base().counted()},
           {"base_here", services_.base().here()},
           {"isolated", facts->isolated},
           {"settled", services_.store->settled()},
           {"partitions_unsettled", s.unsettled},
           {"partitions_incomplete", s.incomplete},
           {"partitions_behind", s.behind},
           {"missing", missing_names(s, *facts->view)},
           {"alone", s.alone},
           {"store_bytes", s.bytes},
           {"store_memory_bytes", s.memory},
           {"log_bytes", s.log_bytes},
           {"disk_ok", s.disk_ok},
           {"keys", facts->keys->keys().size()},
           {"software", software_text}};
  out.update(services_.status());
  done(reply_json(out));
}

void control_routes::dns(const control_request& r, respond done) { done(reply_json(services_.dns(!r.arg("setup").empty()))); }

void control_routes::leave(const control_request&, respond done) {
  services_.leave([done = std::move(done)]() mutable { done(reply_json({{"left", true}})); });
}

void control_routes::put_settings(std::vector<dht::change> changes, json answer, respond done) {
  services_.store->put(dht::table::settings, settings_key(), std::move(changes),
                       [this, answer = std::move(answer), done = std::move(done)](dht::write_result w) mutable {
                         services_.shared->poll();
                         done(reply_write(w, answer));
                       });
}

void control_routes::settings(const control_request& r, respond done) {
  json rows = json::array();
  for (const roles::setting_info& s : roles::known_settings()) {
    if (!r.arg("key").empty() && r.arg("key") != s.key) continue;
    const auto found = services_.shared->stored().find(std::string(s.key));
    const bool is_set = found != services_.shared->stored().end();
    rows.push_back({{"key", s.key}, {"value", !is_set ? std::string(s.default_text) : s.secret ? "(set, not shown)" : found->second},
                    {"default", s.default_text}, {"set", is_set}, {"help", s.help}});
  }
  if (rows.empty()) {
    const std::string near = roles::nearest_key(r.arg("key"));
    return done(reply_failure({fmt::format("no setting \"{}\"", r.arg("key")), near.empty() ? "see: skald set" : fmt::format("did you mean \"{}\"?", near)}, 404));
  }
  done(reply_json(rows));
}

void control_routes::set_setting(const control_request& r, respond done) {
  const json body = parse_body(r);
  const std::string key = field(body, "key"), value = field(body, "value");
  const bool reset = value.empty();
  // What is there can always be taken away: tls.DOMAIN, or what another version of skald has set.
  const bool known = roles::nearest_key(key) == key || services_.shared->stored().contains(key);
  if (const auto checked = roles::check_setting(key, value); !checked && (!reset || !known))
    return done(reply_failure(checked.error(), 400));
  put_settings({{key, value, 0, reset}}, {{"key", key}, {"set", !reset}}, std::move(done));
}

void control_routes::set_dns(const control_request& r, respond done) {
  const json body = parse_body(r);
  const std::string server = field(body, "server"), tsig = field(body, "tsig");
  std::vector<dht::change> changes{{"dns.server", server, 0, server.empty()}};
  if (!tsig.empty()) {
    const auto key = read_tsig_file(tsig);
    if (!key) return done(reply_failure(key.error(), 400));
    changes.push_back({"dns.tsig.name", key->name, 0, false});
    changes.push_back({"dns.tsig.algorithm", key->algorithm, 0, false});
    changes.push_back({"dns.tsig.secret", key->secret, 0, false});
  }
  for (const dht::change& c : changes)
    if (const auto checked = roles::check_setting(c.item, c.value); !checked && !c.remove) return done(reply_failure(checked.error(), 400));
  json answer{{"server", server}};
  // The key stays, so that nothing is lost by an empty word; who wants it gone is told how.
  if (server.empty() && tsig.empty() && services_.shared->stored().contains("dns.tsig.secret"))
    answer["note"] = "nothing is published any more; the TSIG key is kept (to remove it: skald set dns.tsig.secret '')";
  put_settings(std::move(changes), std::move(answer), std::move(done));
}

void control_routes::tls(const control_request&, respond done) { ask_all("tls", "node", std::move(done)); }

void control_routes::set_tls(const control_request& r, respond done) {
  const json body = parse_body(r);
  std::string domain = field(body, "domain");
  if (domain.empty()) domain = services_.facts()->config->default_domain;
  const std::string cert = field(body, "cert"), key = field(body, "key");
  if (const auto good = services_.check_tls(cert, key, domain); !good) return done(reply_failure(good.error(), 422));
  put_settings({{"tls." + domain, json{{"cert", cert}, {"key", key}}.dump(), 0, false}}, {{"domain", domain}}, std::move(done));
}

void control_routes::unset_tls(const control_request& r, respond done) {
  const std::string domain = r.arg("domain").empty() ? services_.facts()->config->default_domain : r.arg("domain");
  if (!services_.shared->stored().contains("tls." + domain))
    return done(reply_failure({fmt::format("no certificate was set for {}", domain), "see: skald tls status"}, 404));
  put_settings({{"tls." + domain, {}, 0, true}}, {{"domain", domain}, {"set", false}}, std::move(done));
}

} // namespace skald::node
