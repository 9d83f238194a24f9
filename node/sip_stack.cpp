#include "node/sip_stack.hpp"

#include "base/metrics.hpp"
#include "sip/message/reply.hpp"
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
metrics::counter unheard("skald_sip_unheard_total", "Datagrams dropped unread under overload: registrations, and what comes from an address that sends a quarter of all");
metrics::counter* const overloaded[] = {&overloaded_established, &overloaded_calls, &overloaded_answers, &overloaded_registrations}; // by urgency

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
  if (!admitted(m, from)) return;
  transactions_.receive(std::move(m), from);
}

bool sip_stack::hears(const ip_address& source, std::string_view bytes) {
  if (admission_.hears(source, bytes.starts_with("REGISTER "))) return true;
  unheard.add();
  return false;
}

// What another edge took in is not turned away here: it was counted there. A copy of what was taken costs nothing.
bool sip_stack::admitted(const sip::message& m, const sip::arrival& from) {
  const bool full = transactions_.size() >= sip::transactions_max;
  if (!full && (from.from_link() || !admission_.pressed())) return true;
  const roles::urgency u = roles::urgency_of(m, env_.cluster.facts()->config->emergency);
  if ((!full && admission_.judge(u, from.flow.remote.ip)) || transactions_.knows(m)) return true;
  overloaded[static_cast<std::size_t>(u)]->add();
  if (m.method_id() != sip::method::ack) refuse(m, from, 503, {});
  return false;
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
