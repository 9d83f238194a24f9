#include "roles/registrar/registrar.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "roles/core/location.hpp"
#include "roles/registrar/answer.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

metrics::counter requests("skald_registrar_requests_total", "REGISTER requests that reached their owner");
metrics::counter accepted("skald_registrar_accepted_total", "REGISTER requests answered 200");
metrics::counter refusals("skald_registrar_refused_total", "REGISTER requests refused, challenges not counted");
metrics::counter out_of_order("skald_registrar_out_of_order_total", "REGISTER requests whose CSeq was not above the binding's");
metrics::counter too_many("skald_registrar_too_many_contacts_total", "REGISTER requests over the limit of contacts of one AoR");
metrics::counter not_owner("skald_registrar_write_failed_total", "Registrations that were not acknowledged", R"(reason="not_owner")");
metrics::counter not_acknowledged("skald_registrar_write_failed_total", "Registrations that were not acknowledged", R"(reason="not_acknowledged")");
metrics::counter overloaded("skald_registrar_write_failed_total", "Registrations that were not acknowledged", R"(reason="overloaded")");
metrics::counter not_active("skald_registrar_write_failed_total", "Registrations that were not acknowledged", R"(reason="not_active")");
metrics::counter in_doubt("skald_registrar_in_doubt_total", "Questions for bindings whose answer was in doubt");

constexpr std::uint32_t retry_after_min_s = 2, retry_after_spread_s = 5; // so that not all come back at once

// What the topmost Path value says of the flow to the phone.
std::optional<sip::token> flow_of(std::string_view path_value, const key_ring& keys) {
  const auto address = sip::parse_name_addr(path_value);
  if (!address) return std::nullopt;
  const auto u = address->uri();
  if (!u) return std::nullopt;
  auto t = sip::open_token(u->user, keys);
  if (!t || t->kind != sip::token_kind::path) return std::nullopt;
  return *t;
}

void count_failure(dht::write_error e) {
  switch (e) {
  case dht::write_error::not_owner: return not_owner.add();
  case dht::write_error::not_acknowledged: return not_acknowledged.add();
  case dht::write_error::overloaded: return overloaded.add();
  case dht::write_error::not_active: return not_active.add();
  case dht::write_error::refused: return;
  }
}

// UDP flows are the same whichever worker of a node received by them.
bool same_flow(const sip::token& a, const sip::token& b) {
  const bool stream = sip::is_stream(a.transport);
  return a.node == b.node && a.transport == b.transport && a.local == b.local && a.remote == b.remote &&
         (!stream || (a.worker == b.worker && a.serial == b.serial));
}

} // namespace

struct registrar::moved_flow {
  std::uint64_t binding_id = 0;
  std::string path; // the topmost value
  bool removed = false;
};

// Bindings that a change puts over another one whose topmost Path differs, or takes away.
registrar::moved_flows registrar::replaced_flows(const std::vector<dht::change>& changes, const std::vector<dht::record>& current) {
  moved_flows out;
  const bool all_go = std::ranges::find(changes, dht::floor_item, &dht::change::item) != changes.end();
  for (const dht::record& before : current) {
    const auto c = std::ranges::find(changes, before.item, &dht::change::item);
    const bool removed = c == changes.end() ? all_go : c->remove;
    if (!removed && (c == changes.end() || before.value == c->value)) continue;
    const auto was = decode_binding(before.value), is = removed ? was : decode_binding(c->value);
    if (!was || !is || was->path.empty() || is->path.empty()) continue;
    if (!removed && was->path.front() == is->path.front()) continue;
    out.push_back({is->id, was->path.front(), removed});
  }
  return out;
}

struct registrar::job {
  sip::message request;
  std::move_only_function<void(sip::message, bool)> reply;
  bool again = false; // another owner may have begun it
  facts_ptr facts;
  std::string to_tag;
  std::string aor;
  std::optional<sip::token> flow;
  register_request wanted;
  auth_result who;
  moved_flows before; // filled before the write is answered
};

const name_index& registrar::names() {
  facts_ptr now = env_.cluster.facts();
  if (!names_ || names_->facts() != now) names_ = std::make_unique<name_index>(std::move(now));
  return *names_;
}

std::string registrar::tag() {
  std::string bytes;
  put_be(bytes, env_.random.next());
  return to_hex(bytes);
}

void registrar::end(job& j, sip::message response, bool not_owner) {
  const int status = response.status();
  if (status == 200) accepted.add();
  if (status > 200 && status != 401) refusals.add();
  j.reply(std::move(response), not_owner);
}

void registrar::end_unavailable(job& j, bool not_owner) {
  const auto after = retry_after_min_s + static_cast<std::uint32_t>(env_.random.below(retry_after_spread_s));
  end(j, try_again(j.request, after, j.to_tag), not_owner);
}

// RFC 3261 §10.3 steps 1, 2, 5: is it for us, can we do what it requires, whose bindings are they.
std::optional<register_refusal> registrar::whose(job& j) {
  const auto domain = sip::parse_uri(j.request.request_uri());
  if (!domain || !names().ours(*domain)) return register_refusal{403, {}, sip::header::other, {}};
  if (std::string unknown = unknown_requirements(j.request); !unknown.empty())
    return register_refusal{420, {}, sip::header::unsupported, std::move(unknown)}; // §8.2.2.3
  const auto to = j.request.first(sip::header::to);
  const auto address = to ? sip::parse_name_addr(*to) : result<sip::name_addr>(std::unexpected(errc::missing));
  const auto u = address ? address->uri() : result<sip::uri>(std::unexpected(errc::missing));
  if (!u) return register_refusal{400, "Malformed To", sip::header::other, {}};
  auto aor = names().aor_of(*u);
  if (!aor || user_of(*aor).empty()) return register_refusal{404, {}, sip::header::other, {}};
  j.aor = std::move(*aor);
  return std::nullopt;
}

void registrar::handle(sip::message request, bool again, std::move_only_function<void(sip::message, bool)> reply) {
  requests.add();
  auto j = std::make_shared<job>();
  j->request = std::move(request);
  j->again = again;
  j->reply = std::move(reply);
  j->facts = env_.cluster.facts();
  j->to_tag = tag();
  if (const auto no = whose(*j)) return end(*j, refused(j->request, *no, j->to_tag));
  // §10.3 steps 3 and 4: the user of the AoR, nobody else (sip.md §3).
  auth_.check({j->request, std::string(domain_of(j->aor)), challenge_kind::www, j->aor, true},
              [this, j](auth_result who) { authenticated(j, std::move(who)); });
}

void registrar::authenticated(const job_ptr& j, auth_result who) {
  if (who.verdict != auth_verdict::ok) return end(*j, refusal(j->request, challenge_kind::www, who, j->to_tag));
  j->who = std::move(who);
  const auto path = j->request.first(sip::header::path);
  if (path) j->flow = flow_of(*path, *j->facts->keys);
  auto wanted = read_register(j->request, *j->facts->config, j->flow);
  if (!wanted) return end(*j, refused(j->request, wanted.error(), j->to_tag));
  j->wanted = std::move(*wanted);
  if (!j->wanted.remove_all && j->wanted.contacts.empty()) return answer_question(j);
  write(j);
}

// No Contact: what is there (§10.2.3). An empty list in doubt is not given (consistency.md, promise 2).
void registrar::answer_question(const job_ptr& j) {
  lookup(env_, j->aor, [this, alive = std::weak_ptr(alive_), j](location_result got) {
    if (alive.expired()) return;
    if (!got.firm) {
      in_doubt.add();
      return end_unavailable(*j);
    }
    const unix_ms now = env_.cluster.store().cluster_time();
    end(*j, registered(j->request, j->wanted, got.bindings, *j->facts->config, now, j->to_tag));
  });
}

// Bindings of the same instance, without reg-id, whose flow is gone: seen here, because the rule runs on a thread that
// knows no flows. The rule makes sure that they are still as they were.
std::vector<registration::gone> registrar::flows_gone(const job& j) {
  std::vector<registration::gone> out;
  const auto wants = [&](const binding& b) {
    return b.reg_id == 0 && !b.instance.empty() && std::ranges::any_of(j.wanted.contacts, [&](const wanted_contact& w) {
      return w.granted_s != 0 && w.reg_id == 0 && w.instance == b.instance;
    });
  };
  if (std::ranges::none_of(j.wanted.contacts, [](const wanted_contact& w) { return !w.instance.empty() && w.reg_id == 0; }))
    return out;
  for (const dht::record& r : env_.cluster.store().read(dht::table::bindings, dht::key_of_aor(j.aor))) {
    const auto b = decode_binding(r.value);
    if (!b || !wants(*b) || b->path.empty()) continue;
    const auto flow = flow_of(b->path.front(), *j.facts->keys);
    if (!flow) continue;
    const dht::member* edge = names().member_of_head(flow->node);
    bool gone = edge == nullptr || !edge->alive();
    if (!gone && sip::is_stream(flow->transport)) {
      const bool here = edge->id == j.facts->view->self;
      // Of another edge's connections we know nothing, but that this phone has since opened another one there: the same
      // UA, transport and address.
      const bool reopened = j.flow && j.flow->node == flow->node && j.flow->transport == flow->transport &&
                            j.flow->remote.ip == flow->remote.ip && j.flow->remote.port != flow->remote.port;
      gone = here ? !env_.flows.alive(flow->flow()) : reopened;
    }
    if (gone) out.push_back({r.item, b->updated});
  }
  return out;
}

void registrar::write(const job_ptr& j) {
  registration r;
  r.wanted = j->wanted;
  r.aor = j->aor;
  const dht::member* edge = j->flow ? names().member_of_head(j->flow->node) : nullptr;
  if (edge != nullptr) r.edge = edge->body.name;
  r.now = env_.cluster.store().cluster_time();
  r.nonce_made = j->who.nonce_made;
  r.repeated = j->who.repeated;
  r.again = j->again;
  r.flows_gone = flows_gone(*j);
  env_.cluster.store().write(
      dht::table::bindings, dht::key_of_aor(j->aor),
      [r = std::move(r), j](const std::vector<dht::record>& current) -> std::expected<std::vector<dht::change>, int> {
        auto changes = update_bindings(r, current);
        if (!changes) return std::unexpected(static_cast<int>(changes.error()));
        j->before = replaced_flows(*changes, current);
        return std::move(*changes);
      },
      [this, alive = std::weak_ptr(alive_), &flows = env_.flows, worker = env_.worker, j = j](dht::write_result result) mutable {
        flows.run_on(worker, [this, alive = std::move(alive), j = std::move(j), result = std::move(result)]() mutable {
          if (!alive.expired()) written(j, std::move(result));
        });
      });
}

void registrar::written(const job_ptr& j, dht::write_result result) {
  if (!result.outcome) {
    auth_.give_back(j->who);
    if (result.outcome.error() == dht::write_error::refused)
      return refused_by_rule(j, static_cast<update_refusal>(result.refusal));
    count_failure(result.outcome.error());
    log::debug("registrar", "registration of " + j->aor + " was not acknowledged"); // the counter is for operators
    const bool not_owner = result.outcome.error() == dht::write_error::not_owner || result.outcome.error() == dht::write_error::not_active;
    return end_unavailable(*j, not_owner); // §10.3 step 7
  }
  tell_moved(*j, j->before);
  change c{j->aor, bindings_of(*result.outcome)};
  const unix_ms now = env_.cluster.store().cluster_time();
  end(*j, registered(j->request, j->wanted, c.bindings, *j->facts->config, now, j->to_tag));
  if (on_change_ && !j->who.repeated) on_change_(c);
}

void registrar::tell_moved(const job& j, const moved_flows& before) {
  if (!on_moved_ || !j.flow) return;
  for (const moved_flow& f : before) {
    const auto old = flow_of(f.path, *j.facts->keys);
    if (old && !same_flow(*old, *j.flow)) on_moved_({*old, f.binding_id, f.removed});
  }
}

void registrar::refused_by_rule(const job_ptr& j, update_refusal why) {
  switch (why) {
  case update_refusal::out_of_order:
  case update_refusal::repeat_undone:
    out_of_order.add();
    break;
  case update_refusal::too_many:
    too_many.add();
    break;
  }
  end_unavailable(*j);
}

} // namespace skald::roles
