// sip_phone: calls, made and taken.
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/via.hpp"
#include "tests/sim/sip_phone_call.hpp"
#include "tests/sim/sip_world.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr duration t1 = milliseconds(500), t2 = seconds(4), give_up_2xx = seconds(32); // RFC 3261 §13.3.1.4
constexpr duration rings_at_most = seconds(60);
constexpr duration cancel_answered_within = seconds(33); // RFC 3261 §9.1: 64 * T1

std::string header_text(const sip::message& m, sip::header h) { return std::string(m.line(h).value_or("")); }

// RFC 3261 §12.1: the route set.
struct route_set {
  std::string lines, first_hop;
};
route_set routes_of(const sip::message& m, bool reversed, const std::string& target) {
  auto values = m.values(sip::header::record_route);
  if (reversed) std::ranges::reverse(values);
  route_set out{.lines = {}, .first_hop = target};
  for (const std::string_view v : values) out.lines += fmt::format("Route: {}\r\n", v);
  if (!values.empty())
    if (const auto na = sip::parse_name_addr(values.front())) out.first_hop = std::string(na->uri_text);
  return out;
}

std::string contact_of(const sip::message& m) {
  const auto c = m.first(sip::header::contact);
  const auto na = c ? sip::parse_name_addr(*c) : std::unexpected(errc::missing);
  return na ? std::string(na->uri_text) : std::string();
}

std::string tag_in(const sip::message& m, sip::header h) {
  const auto na = sip::parse_name_addr(m.line(h).value_or(""));
  return na ? std::string(na->tag()) : std::string();
}

} // namespace

// ---- made

void sip_phone::maybe_call() {
  later(between(seconds(2), seconds(20)), [this] { maybe_call(); });
  if (held_ || call_ || !registered_ || home_.phones() < 2) return;
  const auto whom = static_cast<int>(random_.below(home_.phones() - 1));
  const sip_phone& other = home_.phone(whom >= number ? whom + 1 : whom); // not itself
  ++counts_.calls;
  call_ = std::make_unique<call>();
  call& c = *call_;
  c.serial = ++call_serial_;
  c.id = new_id("call");
  c.began = home_.time.now();
  c.callee = other.number;
  c.local_tag = new_id("t");
  auto j = std::make_shared<job>();
  j->method = "INVITE";
  j->uri = other.aor();
  j->to = fmt::format("<{}>", other.aor());
  j->call_id = c.id;
  j->tag = c.local_tag;
  j->cseq = ++cseq_;
  j->done = [this](const sip::message* final) { invite_over(final); };
  c.invite = j;
  later(between(seconds(3), seconds(25)), [this, serial = c.serial] {
    if (call_ && call_->serial == serial) give_up_call();
  });
  launch("sip:" + home_.home.domain(), j);
}

void sip_phone::give_up_call() {
  if (!call_->outgoing || call_->now != call::stage::calling) return;
  call_->now = call::stage::given_up;
  const job_ptr j = call_->invite;
  j->dropped = true;
  if (!layer_->cancel(j->transaction, {})) return; // it is just being answered, or tried elsewhere
  later(cancel_answered_within, [this, j, serial = call_->serial] {
    if (!call_ || call_->serial != serial || !jobs_.contains(j->transaction)) return;
    home_.judge.unanswered(j->branch, "INVITE after CANCEL", user_);
    layer_->abandon(j->transaction);
    finish(j, nullptr);
  });
}

void sip_phone::invite_over(const sip::message* final) {
  if (!call_) return;
  if (final == nullptr || final->status() >= 300) {
    home_.judge.caller_ended(call_->id);
    if (final != nullptr) home_.judge.not_reached(user_, call_->callee, final->status(), call_->began);
    return end_call();
  }
  ++counts_.answered;
  call& c = *call_;
  c.remote = header_text(*final, sip::header::to);
  c.target = contact_of(*final);
  auto routes = routes_of(*final, true, c.target);
  c.routes = std::move(routes.lines), c.first_hop = std::move(routes.first_hop);
  acknowledge(*final);
  const bool regrets = c.now == call::stage::given_up;
  c.now = call::stage::up;
  if (regrets) return hang_up();
  later(between(seconds(1), seconds(12)), [this, serial = c.serial] {
    if (call_ && call_->serial == serial) hang_up();
  });
}

// RFC 3261 §13.2.2.4: of each 2xx, by the route set, without a transaction.
void sip_phone::acknowledge(const sip::message& ok) {
  const std::string target = contact_of(ok);
  const auto routes = routes_of(ok, true, target);
  const auto cseq = sip::parse_cseq(header_text(ok, sip::header::cseq));
  const auto where = sip::parse_uri(routes.first_hop);
  if (!where || !cseq) return;
  std::string text = fmt::format("ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n{}From: {}\r\nTo: {}\r\n"
                                 "Call-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
                                 target, address_.text(), new_id("a"), routes.lines, header_text(ok, sip::header::from),
                                 header_text(ok, sip::header::to), header_text(ok, sip::header::call_id), cseq->number);
  resolver_.resolve(*where, [this, text = std::move(text)](const sip::resolved& r) {
    if (!r.targets.empty()) home_.wire.from_phone(address_, r.targets.front().remote, text);
  });
}

// ---- taken

sip::message sip_phone::reply(const sip::message& request, int status) const {
  sip::message out = sip::make_reply(request, status, {}, call_ ? call_->local_tag : "busy");
  for (const std::string_view v : request.values(sip::header::record_route)) out.append(sip::header::record_route, v);
  out.append(sip::header::contact, "<" + contact_ + ">");
  return out;
}

void sip_phone::on_request(sip::server_id id, sip::message request, const sip::arrival& from) {
  const sip::method m = request.method_id();
  if (m == sip::method::invite) return on_invite(id, request, from);
  if (m == sip::method::bye) return on_bye(id, request);
  if (m == sip::method::options) home_.judge.ping_seen(number, home_.wire.machine_at(from.flow.remote).value_or(-1));
  layer_->respond(id, reply(request, 200)); // OPTIONS, MESSAGE
}

void sip_phone::on_invite(sip::server_id id, const sip::message& request, const sip::arrival& from) {
  const auto via = sip::parse_via(*request.first(sip::header::via));
  const auto cseq = sip::parse_cseq(header_text(request, sip::header::cseq));
  const attempt_key key{header_text(request, sip::header::call_id), tag_in(request, sip::header::from), cseq->number};
  const std::string branch(via->branch);
  home_.judge.invite_seen(number, key, branch, home_.wire.machine_at(from.flow.remote).value_or(-1));
  const auto refuse = [&](int status) {
    layer_->respond(id, reply(request, status));
    home_.judge.invite_ended(number, key, branch, false);
  };
  if (call_ && !call_->outgoing && call_->key == key) return refuse(482); // RFC 3261 §8.2.2.2
  if (call_) return refuse(486);
  call_ = std::make_unique<call>();
  call& c = *call_;
  c.outgoing = false;
  c.now = call::stage::ringing;
  c.serial = ++call_serial_;
  c.id = key.call_id;
  c.local_tag = new_id("t");
  c.remote = header_text(request, sip::header::from);
  c.target = contact_of(request);
  auto routes = routes_of(request, false, c.target);
  c.routes = std::move(routes.lines), c.first_hop = std::move(routes.first_hop);
  c.server = id, c.request = request, c.key = key, c.branch = branch;
  ring(c.serial);
}

void sip_phone::ring(std::uint64_t serial) {
  const auto still = [this, serial] { return call_ && call_->serial == serial && call_->now == call::stage::ringing; };
  later(between(milliseconds(20), milliseconds(300)), [this, still] {
    if (still()) layer_->respond(call_->server, reply(call_->request, 180));
  });
  const auto end_with = [this, still](int status) {
    if (!still()) return;
    layer_->respond(call_->server, reply(call_->request, status));
    home_.judge.invite_ended(number, call_->key, call_->branch, false);
    end_call();
  };
  const double mood = random_.unit();
  if (mood < 0.6)
    later(between(milliseconds(500), seconds(6)), [this, still] {
      if (still()) pick_up();
    });
  else if (mood < 0.7) later(between(milliseconds(400), seconds(3)), [end_with] { end_with(486); });
  later(rings_at_most, [end_with] { end_with(480); });
}

void sip_phone::pick_up() {
  call& c = *call_;
  c.now = call::stage::answered;
  c.ok = reply(c.request, 200);
  c.again = t1;
  c.until = home_.time.now() + give_up_2xx;
  home_.judge.invite_ended(number, c.key, c.branch, true);
  send_ok();
}

void sip_phone::send_ok() {
  layer_->respond(call_->server, call_->ok);
  later(call_->again, [this, serial = call_->serial] {
    if (!call_ || call_->serial != serial || call_->now != call::stage::answered) return;
    if (home_.time.now() >= call_->until) { // RFC 3261 §13.3.1.4
      home_.judge.not_acknowledged(number, call_->until - give_up_2xx);
      return hang_up();
    }
    call_->again = std::min(call_->again * 2, t2);
    send_ok();
  });
}

void sip_phone::on_ack(sip::message request, const sip::arrival&) {
  if (!call_ || call_->outgoing || call_->now != call::stage::answered || header_text(request, sip::header::call_id) != call_->id) return;
  call_->now = call::stage::up;
  later(between(seconds(1), seconds(15)), [this, serial = call_->serial] {
    if (call_ && call_->serial == serial) hang_up();
  });
}

void sip_phone::on_cancel(sip::server_id cancel, sip::server_id invite, sip::message request, const sip::arrival&) {
  layer_->respond(cancel, reply(request, invite == sip::server_id::none ? 481 : 200));
  if (!call_ || call_->outgoing || call_->server != invite || call_->now != call::stage::ringing) return;
  layer_->respond(invite, reply(call_->request, 487));
  home_.judge.invite_ended(number, call_->key, call_->branch, false);
  end_call();
}

// ---- the end

void sip_phone::on_bye(sip::server_id id, const sip::message& request) {
  const std::string call_id = header_text(request, sip::header::call_id);
  const auto via = sip::parse_via(*request.first(sip::header::via));
  if (request.has(sip::header::reason)) home_.judge.farewell_seen(number, call_id, std::string(via->branch)); // phones here give none
  const bool known = call_ && call_->id == call_id;
  layer_->respond(id, reply(request, known ? 200 : 481));
  if (!known) return;
  end_call();
}

void sip_phone::hang_up() {
  ++counts_.byes;
  auto j = std::make_shared<job>();
  j->method = "BYE";
  j->uri = call_->target;
  j->to = call_->remote;
  j->call_id = call_->id;
  j->tag = call_->local_tag;
  j->cseq = ++cseq_;
  j->more = call_->routes;
  const std::string hop = call_->first_hop;
  end_call();
  launch(hop, j);
}

void sip_phone::end_call() { call_.reset(); }

} // namespace skald::sim
