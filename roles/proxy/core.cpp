#include "roles/proxy/core.hpp"

#include "base/metrics.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/dialog_keeper.hpp"
#include "roles/proxy/in_dialog.hpp"
#include "roles/proxy/moved_flows.hpp"
#include "roles/proxy/passage.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/via.hpp"
#include "sip/transaction/branch.hpp"

namespace skald::roles {

namespace {

metrics::counter strays_passed("skald_proxy_stray_responses_total", "Responses without a transaction.",
                               R"(fate="passed_on")");
metrics::counter strays_moved("skald_proxy_stray_responses_total", "Responses without a transaction.",
                              R"(fate="other_worker")");
metrics::counter strays_dropped("skald_proxy_stray_responses_total", "Responses without a transaction.",
                                R"(fate="dropped")");
metrics::counter not_acknowledged("skald_proxy_finals_unacknowledged_total",
                                  "Final responses to INVITE whose ACK never came.");

constexpr seconds sweep_every{60};

} // namespace

struct core::impl {
  impl(worker_env& env, registrar_port& registrar, authenticator& auth, server_resolver& resolver, edge_state& edge)
      : w(env, registrar, auth, resolver, observer, edge) {
    observer.serve(w);
    registrar.on_moved([this](const registrar_port::moved_binding& m) { tell_former_edge(w, m); });
    if (env.worker != 0) return;
    sweep(); // what all workers share
    keeper.start();
  }
  ~impl() {
    w.env.timers.cancel(sweeper);
    w.registrar.on_moved({});
  }

  void sweep() {
    w.flows.sweep(w.env.clock.now());
    sweeper = w.env.timers.at(w.env.clock.now() + sweep_every, [this] { sweep(); });
  }
  void pass_2xx(sip::message response, const name_index& names);

  passage observer;
  worker w;
  dialog_keeper keeper{w};
  timer_id sweeper = timer_id::none;
};

core::core(worker_env& env, registrar_port& registrar, authenticator& auth, server_resolver& resolver,
           edge_state& edge)
    : impl_(std::make_unique<impl>(env, registrar, auth, resolver, edge)) {}

core::~core() = default;

void core::set_siblings(std::vector<core*> all) {
  std::vector<legs*> legs_of;
  for (core* one : all)
    legs_of.push_back(one == nullptr ? nullptr : &one->impl_->w.calls.legs());
  impl_->w.calls.legs().set_siblings(std::move(legs_of));
  siblings_ = std::move(all);
}

void core::on_view() {
  impl_->w.calls.on_view(*impl_->w.names());
}

bool core::scans(const sip::arrival& from) const {
  worker& w = impl_->w;
  const mono_time now = w.env.clock.now();
  return !from.from_link() && w.scans.over(from.flow.remote.ip, now) && !w.flows.knows(from.flow, now) &&
         !is_trusted_peer(*w.env.cluster.facts()->config, from, w.env.clock.wall());
}

bool core::adopt(const binding& b) { return adopt_binding(impl_->w, b); }

std::optional<std::uint16_t> core::worker_of(const binding& b, const key_ring& keys) {
  const auto flow = flow_of(b, keys);
  if (!flow) return std::nullopt;
  return flow->worker;
}

void core::on_request(sip::server_id id, sip::message request, const sip::arrival& from) {
  worker& w = impl_->w;
  const context_ptr c = w.calls.create(id, request, from, w.names());
  if (!c) {
    sip::message busy = sip::make_reply(request, 503, {}, w.calls.unique_tag());
    busy.set(sip::header::retry_after, std::to_string(retry_after.count()));
    return w.env.transactions->respond(id, busy);
  }
  if (from.from_link())
    run_link(w, c);
  else
    run_in(w, c);
}

// RFC 3261 §9.2, §16.10: hop by hop.
void core::on_cancel(sip::server_id cancel, sip::server_id invite, sip::message request, const sip::arrival& from) {
  worker& w = impl_->w;
  const context_ptr c = invite == sip::server_id::none ? nullptr : w.calls.find(invite);
  sip::message stamped = request;
  static_cast<void>(sip::stamp_top_via(stamped, from.flow.remote));
  const bool known = invite != sip::server_id::none;
  w.env.transactions->respond(cancel,
                              sip::make_reply(stamped, known ? 200 : 481, {}, c ? c->local_tag : w.calls.unique_tag()));
  if (c && !c->answered) w.calls.cancel_all(c, request.line(sip::header::reason).value_or(std::string_view{}));
}

void core::on_ack(sip::message request, const sip::arrival& from) {
  forward_ack(impl_->w, std::move(request), from);
}

void core::on_response(sip::client_id id, sip::message response, const sip::arrival& from) {
  worker& w = impl_->w;
  if (response.status() >= 200 && w.pinger.on_response(id)) return;
  if (impl_->keeper.on_response(id, response)) return;
  w.calls.on_response(id, std::move(response), from);
}

void core::on_failure(sip::client_id id, sip::client_failure why) {
  worker& w = impl_->w;
  if (!w.pinger.on_failure(id) && !impl_->keeper.on_failure(id)) w.calls.on_failure(id, why);
}

void core::on_client_ended(sip::client_id id) {
  worker& w = impl_->w;
  if (!w.pinger.on_ended(id)) w.calls.on_client_ended(id);
}

void core::on_server_ended(sip::server_id id, bool acknowledged) {
  if (!acknowledged) not_acknowledged.add();
  impl_->w.calls.on_server_ended(id);
}

// A 2xx whose transaction is over goes on by Via (RFC 6026 §8.9 lets nothing else through); what belongs to another
// worker goes to it. Only what verifies as a branch of ours is looked at, so nobody can have us send his responses.
void core::on_stray_response(sip::message response, const sip::arrival& from) {
  worker& w = impl_->w;
  const auto names = w.names();
  const auto top = response.first(sip::header::via);
  const auto v = top ? sip::parse_via(*top) : std::unexpected(errc::missing);
  const auto parts = v ? sip::open_branch(v->branch, *names->facts()->keys) : std::unexpected(errc::missing);
  if (!parts) return strays_dropped.add();
  if (parts->worker != w.env.worker && parts->worker < siblings_.size() && siblings_[parts->worker] != nullptr) {
    strays_moved.add();
    core* there = siblings_[parts->worker];
    return w.env.flows.run_on(parts->worker,
                              [there, response, from] { there->impl_->w.env.transactions->receive(response, from); });
  }
  if (response.status() / 100 != 2 || response.method_id() != sip::method::invite) return strays_dropped.add();
  if (!from.from_link()) {
    drop_assertions(response);
    drop_our_challenges(*names, response);
  }
  response.remove_first_value(sip::header::via);
  impl_->pass_2xx(std::move(response), *names);
}

void core::impl::pass_2xx(sip::message response, const name_index& names) {
  const auto next = response.first(sip::header::via);
  const auto v = next ? sip::parse_via(*next) : std::unexpected(errc::missing);
  if (!v) return strays_dropped.add();
  const auto forward = [this, alive = w.alive, response](std::optional<sip::flow> f) {
    if (!*alive) return;
    if (!f) return strays_dropped.add();
    strays_passed.add();
    w.env.transactions->send_stateless(response, *f);
  };
  const dht::member* node = names.member_of_host(v->host);
  if (node != nullptr && sip::open_branch(v->branch, *names.facts()->keys))
    return w.env.flows.open_link(node->id, forward);
  const auto to = sip::destination_of(response);
  const auto address = to ? to->address() : std::unexpected(errc::missing);
  if (!address || v->transport != "UDP") return strays_dropped.add(); // a stream's response has only its stream
  w.env.flows.open({.transport = sip::transport::udp, .remote = *address}, forward);
}

void core::on_flow_gone(const sip::flow& f) {
  if (f.transport == sip::transport::link) return impl_->w.calls.on_link_gone(f);
  impl_->w.flows.forget(f);
  impl_->w.pinger.stop(f);
}

std::size_t core::legs_size() const {
  return impl_->w.calls.legs().size();
}

std::set<std::string> core::unanswered() const {
  std::set<std::string> out;
  impl_->w.calls.unanswered(out);
  return out;
}

std::size_t core::size() const {
  return impl_->w.calls.size();
}

} // namespace skald::roles
