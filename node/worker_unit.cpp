#include "node/worker_unit.hpp"

#include "base/metrics.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/validate.hpp"

namespace skald::node {
namespace {

metrics::counter requests("skald_sip_requests_total", "SIP requests received");
metrics::counter responses("skald_sip_responses_total", "SIP responses received");
metrics::counter invalid("skald_sip_invalid_total", "SIP messages that break RFC 3261: answered 4xx, or dropped");
metrics::counter overloaded("skald_sip_overloaded_total", "Requests answered 503: too many transactions");

} // namespace

void sip_resolver::resolve(std::string uri, std::move_only_function<void(std::vector<sip::target>)> done) {
  const auto parsed = sip::parse_uri(uri);
  if (!parsed) return done({});
  resolver_.resolve(*parsed, [done = std::move(done)](sip::resolved r) mutable { done(std::move(r.targets)); });
}

outcome<std::unique_ptr<worker_unit>> worker_unit::make(worker& io, const clock& clk, roles::cluster_port& cluster,
                                                        roles::replay_memory& replays, roles::leg_index& legs) {
  auto dns = dns_client::make(io.events());
  if (!dns) return std::unexpected(dns.error());
  return std::unique_ptr<worker_unit>(new worker_unit(io, clk, cluster, replays, legs, std::move(*dns)));
}

worker_unit::worker_unit(worker& io, const clock& clk, roles::cluster_port& cluster, roles::replay_memory& replays,
                         roles::leg_index& legs, std::unique_ptr<dns_client> dns)
    : io_(io), dns_(std::move(dns)), cache_(clk, *dns_),
      env_{io.config().index, clk, io.events().timers(), random_, cluster, io, io, nullptr, cache_}, auth_(env_, replays),
      registrar_(env_, auth_), resolver_(cache_, random_), core_(env_, registrar_, auth_, resolver_, legs),
      transactions_(clk, io.events().timers(), io, core_) {
  env_.transactions = &transactions_;
  io_.set_user(*this);
}

void worker_unit::on_message(sip::message m, const sip::arrival& from) {
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
  if (transactions_.size() >= sip::transactions_max && !transactions_.knows(m)) {
    overloaded.add();
    if (m.method_id() != sip::method::ack) refuse(m, from, 503, {});
    return;
  }
  transactions_.receive(std::move(m), from);
}

void worker_unit::refuse(const sip::message& request, const sip::arrival& from, int status, std::string_view reason) {
  sip::message reply = sip::make_reply(request, status, reason, "skald");
  if (status == 503) reply.append(sip::header::retry_after, std::to_string(1 + random_.below(10)));
  io_.send(from.flow, reply.serialize());
}

void worker_unit::on_flow_gone(const sip::flow& f) {
  transactions_.flow_gone(f);
  core_.on_flow_gone(f);
}

} // namespace skald::node
