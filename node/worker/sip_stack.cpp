#include "node/worker/sip_stack.hpp"

#include "base/metrics.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/validate.hpp"

namespace skald::node {
namespace {

metrics::counter requests("skald_sip_requests_total", "SIP requests received");
metrics::counter responses("skald_sip_responses_total", "SIP responses received");
metrics::counter invalid("skald_sip_invalid_total", "SIP messages that break RFC 3261: answered 4xx, or dropped");
constexpr std::string_view overloaded_help = "Requests turned away because of overload";
metrics::counter overloaded_established("skald_sip_overloaded_total", overloaded_help, R"(class="established")");
metrics::counter overloaded_calls("skald_sip_overloaded_total", overloaded_help, R"(class="call")");
metrics::counter overloaded_answers("skald_sip_overloaded_total", overloaded_help, R"(class="answer")");
metrics::counter overloaded_registrations("skald_sip_overloaded_total", overloaded_help, R"(class="registration")");
metrics::counter overloaded_floods("skald_sip_overloaded_total", overloaded_help, R"(class="flood")");
metrics::counter unheard("skald_sip_unheard_total", "Requests turned away because of overload without an answer: there were too many for that");
metrics::counter scanned("skald_sip_scanners_unheard_total", "Requests dropped because their source asked for too many that do not exist, or with wrong credentials");
metrics::counter* const overloaded[] = {&overloaded_established, &overloaded_calls, &overloaded_answers, &overloaded_registrations,
                                        &overloaded_floods}; // by urgency

} // namespace

void sip_resolver::resolve(std::string uri, std::move_only_function<void(std::vector<sip::target>)> done) {
  const auto parsed = sip::parse_uri(uri);
  if (!parsed) return done({});
  resolver_.resolve(*parsed, [done = std::move(done)](sip::resolved r) mutable { done(std::move(r.targets)); });
}

sip_stack::sip_stack(const sip_stack_ports& p)
    : sender_(p.sender), admission_(p.random), cache_(p.clock, p.dns),
      env_{p.worker, p.clock, p.timers, p.random, p.cluster, p.flows, p.sender, nullptr, cache_}, auth_(env_, p.replays),
      registrar_(env_, auth_), resolver_(cache_, p.random), core_(env_, registrar_, auth_, resolver_, p.edge),
      transactions_(p.clock, p.timers, p.sender, core_) {
  env_.transactions = &transactions_;
}

void sip_stack::receive(sip::message m, const sip::arrival& from) {
  const auto verdict = sip::validate(m);
  if (!m.is_request()) {
    responses.add();
    if (verdict) invalid.add();
    else transactions_.receive(std::move(m), from);
    return;
  }
  requests.add();
  if (verdict) {
    invalid.add();
    if (verdict->answer && m.method_id() != sip::method::ack) refuse(m, from, verdict->status, verdict->reason);
    return;
  }
  // What another edge took in is not turned away here: it was counted there. A REGISTER had its turn before it was read.
  const roles::urgency u = from.from_link() ? roles::urgency::established : roles::urgency_of(m, env_.cluster.facts()->config->emergency);
  if (u != roles::urgency::established && core_.scans(from) && !transactions_.knows(m)) return scanned.add();
  const bool waits = u == roles::urgency::call && keeper_ != nullptr && !keeper_->at_once(u, from);
  if (refused_before(m, from)) return;
  if ((has_room(u) && !waits) || transactions_.knows(m)) return transactions_.receive(std::move(m), from);
  if (keeper_ != nullptr && has_room(u)) return keeper_->keep(u, std::move(m), from);
  turn_away(std::move(m), from, u, admission_.turn_away(u));
}

void sip_stack::take(sip::message m, const sip::arrival& from) {
  if (!refused_before(m, from)) transactions_.receive(std::move(m), from);
}

// A repetition of what was refused while it was under way, or stood in the same line.
bool sip_stack::refused_before(const sip::message& m, const sip::arrival& from) {
  if (m.method_id() == sip::method::ack || !refusals_.has(m, env_.clock.now())) return false;
  refuse(m, from, 503, {});
  return true;
}

bool sip_stack::hears(const ip_address& source, std::string_view bytes) {
  admission_.heard(source);
  const auto u = roles::first_look(bytes);
  if (!u || has_room(*u)) return true;
  turn_away(std::string{}, {}, *u, roles::fate::drop);
  return false;
}

bool sip_stack::has_room(roles::urgency u) const {
  const std::size_t used = transactions_.size();
  switch (u) {
  case roles::urgency::established: return used < sip::transactions_max;
  case roles::urgency::call: return used < sip::transactions_max / 10 * 9;
  case roles::urgency::answer:
  case roles::urgency::registration:
  case roles::urgency::flood: return used < sip::transactions_max / 4 * 3;
  }
  return false;
}

// Over a stream nothing is sent again: dropped without a word, a phone would wait there for half a minute.
// What was taken before it was sent again has its answer: no second one, another.
void sip_stack::turn_away(sip::message m, const sip::arrival& from, roles::urgency u, roles::fate how) {
  if (transactions_.knows(m)) return transactions_.receive(std::move(m), from);
  overloaded[static_cast<std::size_t>(u)]->add();
  const bool silent = how == roles::fate::drop && (!sip::is_stream(from.flow.transport) || u == roles::urgency::flood);
  if (silent || m.method_id() == sip::method::ack) return unheard.add();
  refusals_.note(m, env_.clock.now());
  refuse(m, from, 503, {});
}

void sip_stack::turn_away(std::string bytes, const sip::arrival& from, roles::urgency u, roles::fate how) {
  const bool silent = how == roles::fate::drop && (!sip::is_stream(from.flow.transport) || u == roles::urgency::flood);
  if (!silent) // this one is parsed, for its answer
    if (auto m = sip::message::parse(std::move(bytes)); m && m->is_request() && sip::stamp_top_via(*m, from.flow.remote) && !sip::validate(*m))
      return turn_away(std::move(*m), from, u, how);
  overloaded[static_cast<std::size_t>(u)]->add();
  unheard.add();
}

void sip_stack::refuse(const sip::message& request, const sip::arrival& from, int status, std::string_view reason) {
  sip::message reply = sip::make_reply(request, status, reason, "skald");
  if (status == 503) reply.append(sip::header::retry_after, std::to_string(admission_.retry_after_s()));
  sender_.send(from.flow, reply.serialize());
}

void sip_stack::flow_gone(const sip::flow& f) {
  transactions_.flow_gone(f);
  core_.on_flow_gone(f);
}

} // namespace skald::node
