// sip_phone: its requests, and its registration.
#include "tests/sim/sip_phone.hpp"

#include "sip/auth/challenge.hpp"
#include "sip/auth/digest.hpp"
#include "sip/message/contact.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/validate.hpp"
#include "sip/message/via.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_phone_call.hpp"
#include "tests/sim/sip_world.hpp"

#include <algorithm>
#include <array>

namespace skald::sim {
namespace {

constexpr int challenges_max = 3;
constexpr std::size_t servers_tried_max = 3;
constexpr std::array<std::uint32_t, 4> wishes_s{60, 90, 120, 600};

} // namespace

sip_phone::sip_phone(sip_world& home, int n)
    : number(n), home_(home), user_(fmt::format("phone{}", n)), aor_(fmt::format("sip:{}@{}", user_, home.home.domain())),
      address_{*ip_address::parse(fmt::format("198.51.100.{}", 10 + n)), 5060}, random_(home.home.opts.seed * 7919 + static_cast<std::uint64_t>(n)),
      dns_(home.dns, random_, [](std::move_only_function<void()> f) { f(); }), cache_(home.time, dns_),
      resolver_(cache_, random_, {.transports = {sip::transport::udp}}) {
  const bool behind_nat = random_.chance(0.3);
  contact_ = fmt::format("sip:{}@{}", user_, behind_nat ? fmt::format("192.168.0.{}:5060", 10 + n) : address_.text());
  sticky_ = random_.chance(0.7);
  expires_s_ = wishes_s[random_.below(wishes_s.size())];
  registration_id_ = new_id("reg");
  sip::message_sender& sender = *this;
  sip::transaction_user& user = *this;
  layer_ = std::make_unique<sip::transaction_layer>(home.time, home.timers, sender, user);
  home_.wire.plug(address_, [this](const endpoint& from, const endpoint&, std::string bytes) { on_datagram(from, std::move(bytes)); });
}

sip_phone::~sip_phone() = default;

std::string sip_phone::new_id(std::string_view kind) { return fmt::format("{}-{}-{}-{:x}", kind, number, ++serial_, random_.next() & 0xffffff); }

duration sip_phone::between(duration least, duration most) {
  return least + duration(random_.below(static_cast<std::uint64_t>((most - least).count()) + 1));
}

void sip_phone::later(duration d, std::function<void()> f) { home_.timers.at(home_.time.now() + d, std::move(f)); }

void sip_phone::start() {
  later(between(milliseconds(0), seconds(3)), [this] { register_now(); });
  later(between(seconds(4), seconds(12)), [this] { maybe_call(); });
}

// ---- the wire

bool sip_phone::send(const sip::flow& where, std::string_view bytes) {
  home_.wire.from_phone(address_, where.remote, std::string(bytes));
  return true;
}

void sip_phone::on_datagram(const endpoint& from, std::string bytes) {
  auto m = sip::message::parse(bytes);
  if (!m || sip::validate(*m)) return home_.home.fail(5, fmt::format("{} was sent what is not SIP: {}", user_, bytes));
  look_at_wire(*m, from);
  const sip::flow f{.transport = sip::transport::udp, .local = address_, .remote = from};
  layer_->receive(std::move(*m), {.flow = f, .at = home_.time.now()});
}

void sip_phone::look_at_wire(const sip::message& m, const endpoint&) {
  if (m.is_request() || m.status() < 200) return;
  const auto top = m.first(sip::header::via);
  const auto via = top ? sip::parse_via(*top) : std::unexpected(errc::missing);
  const auto to = sip::parse_name_addr(m.line(sip::header::to).value_or(""));
  if (via) home_.judge.final_seen(std::string(via->branch), m.method_name(), m.status(), to ? to->tag() : "");
}

// ---- requests

void sip_phone::launch(const std::string& route_uri, job_ptr j) {
  if (j->fixed) return transmit(j);
  const auto where = sip::parse_uri(route_uri);
  if (!where) return finish(j, nullptr);
  const bool in_dialog = !j->to.empty() && j->to.find(";tag=") != std::string::npos;
  resolver_.resolve(*where, [this, j, in_dialog](sip::resolved r) {
    j->targets = std::move(r.targets);
    if (edge_ && sticky_ && !in_dialog) {
      std::erase(j->targets, *edge_);
      j->targets.insert(j->targets.begin(), *edge_);
    }
    if (j->targets.size() > servers_tried_max) j->targets.resize(servers_tried_max);
    if (j->targets.empty()) return finish(j, nullptr);
    transmit(j);
  });
}

std::string sip_phone::text_of(job& j) {
  j.branch = fmt::format("z9hG4bK{}", new_id("b"));
  return fmt::format("{} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\nMax-Forwards: 70\r\nFrom: <{}>;tag={}\r\nTo: {}\r\nCall-ID: {}\r\n"
                     "CSeq: {} {}\r\nContact: <{}>\r\n{}{}Content-Length: 0\r\n\r\n",
                     j.method, j.uri, address_.text(), j.branch, aor_, j.tag, j.to, j.call_id, j.cseq, j.method, contact_, j.credentials, j.more);
}

void sip_phone::transmit(const job_ptr& j) {
  auto m = sip::message::parse(text_of(*j));
  SKALD_ASSERT(m.has_value());
  const sip::target& to = j->targets[j->at];
  const auto machine = home_.wire.machine_at(to.remote);
  home_.judge.sent(j->branch, j->method, machine.value_or(-1));
  if (home_.home.time.deep) home_.home.time.note("{} sends {} {} to {}", user_, j->method, j->cseq, to.remote.text());
  j->transaction = layer_->send_request(*m, {.transport = sip::transport::udp, .local = address_, .remote = to.remote});
  jobs_[j->transaction] = j;
}

void sip_phone::next_server(const job_ptr& j) {
  if (edge_ && *edge_ == j->targets[j->at]) edge_.reset();
  if (j->fixed || j->dropped || ++j->at >= j->targets.size()) return finish(j, nullptr);
  ++counts_.failovers;
  transmit(j);
}

void sip_phone::finish(const job_ptr& j, const sip::message* final) {
  jobs_.erase(j->transaction);
  if (final != nullptr) ++counts_.finals[final->status()];
  else ++counts_.unanswered;
  if (home_.home.time.deep)
    home_.home.time.note("{}: {} {} is answered {}", user_, j->method, j->cseq, final != nullptr ? final->status() : 0);
  if (auto done = std::move(j->done)) done(final);
}

bool sip_phone::take_challenge(const job_ptr& j, const sip::message& response) {
  if (++j->challenges > challenges_max) return false;
  const bool www = response.status() == 401;
  const auto value = response.first(www ? sip::header::www_authenticate : sip::header::proxy_authenticate);
  const auto challenge = value ? sip::parse_digest_challenge(*value) : std::unexpected(errc::missing);
  if (!challenge) return false;
  sip::digest_credentials c;
  c.username = user_;
  c.realm = challenge->realm;
  c.nonce = challenge->nonce;
  c.uri = j->uri;
  c.algorithm = challenge->algorithm;
  c.qop = sip::digest_qop::auth;
  c.nc = 1;
  c.nc_text = "00000001";
  c.cnonce = fmt::format("{:x}", random_.next());
  const std::string ha1 = sip::digest_ha1(c.algorithm, user_, c.realm, password());
  j->credentials = fmt::format("{}: Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{}\", qop=auth, nc={}, cnonce=\"{}\", "
                               "algorithm={}\r\n",
                               www ? "Authorization" : "Proxy-Authorization", user_, c.realm, c.nonce, c.uri, sip::digest_response(c, ha1, j->method),
                               c.nc_text, c.cnonce, sip::to_string(c.algorithm));
  j->cseq = ++cseq_;
  return true;
}

void sip_phone::on_response(sip::client_id id, sip::message response, const sip::arrival&) {
  const auto at = jobs_.find(id);
  if (at == jobs_.end()) {
    if (response.status() / 100 == 2 && response.method_id() == sip::method::invite) acknowledge(response); // retransmitted
    return;
  }
  const job_ptr j = at->second;
  const int status = response.status();
  if (status < 200) return;
  jobs_.erase(at);
  if ((status == 401 || status == 407) && !j->dropped && take_challenge(j, response)) return transmit(j);
  if (status == 503 && !j->fixed && !j->dropped && j->at + 1 < j->targets.size()) {
    ++counts_.finals[status];
    return next_server(j);
  }
  if (status < 500) edge_ = j->targets[j->at];
  if ((status == 403 || status == 404) && j->method != "BYE") home_.judge.refused(j->method, status, user_, j->credentials.empty());
  finish(j, &response);
}

void sip_phone::on_failure(sip::client_id id, sip::client_failure) {
  const auto at = jobs_.find(id);
  if (at == jobs_.end()) return;
  const job_ptr j = at->second;
  jobs_.erase(at);
  home_.judge.unanswered(j->branch, j->method, user_);
  next_server(j);
}

void sip_phone::probe(machine_id edge, const std::string& aor, std::function<void(int)> done) {
  auto j = std::make_shared<job>();
  j->method = "MESSAGE";
  j->uri = aor;
  j->to = fmt::format("<{}>", aor);
  j->call_id = new_id("probe");
  j->tag = new_id("t");
  j->cseq = ++cseq_;
  j->targets = {{sip::transport::udp, {home_.home.at(edge).spec.ip, 5060}}};
  j->fixed = true;
  j->done = [done = std::move(done)](const sip::message* final) { done(final != nullptr ? final->status() : 0); };
  transmit(j);
}

// ---- registration

void sip_phone::register_now() {
  if (registering_) return;
  registering_ = true;
  ++counts_.registers;
  const bool away = registered_ && !held_ && random_.chance(0.08);
  if (!held_ && random_.chance(0.05)) registration_id_ = new_id("reg"); // it was switched off and on
  auto j = std::make_shared<job>();
  const std::uint32_t wanted = away ? 0 : expires_s_;
  j->method = "REGISTER";
  j->uri = "sip:" + home_.home.domain();
  j->to = fmt::format("<{}>", aor_);
  j->call_id = registration_id_;
  j->tag = new_id("t");
  j->cseq = ++cseq_;
  j->more = fmt::format("Expires: {}\r\n", wanted);
  j->done = [this, j = j.get(), wanted](const sip::message* final) {
    registering_ = false;
    auto& known = home_.judge.of(number);
    if (final != nullptr && final->status() == 200) return registered(*j, *final, wanted);
    known.in_doubt = true; // an answer that is lost, or a failure: it may have been carried out all the same
    later(between(milliseconds(500), seconds(4)), [this] { register_now(); });
  };
  home_.judge.of(number).in_doubt = true; // until it is answered
  launch(j->uri, j);
}

void sip_phone::registered(const job& j, const sip::message& answer, std::uint32_t wanted) {
  ++counts_.registered;
  registered_ = wanted != 0;
  std::uint32_t granted = 0;
  for (const std::string_view v : answer.values(sip::header::contact))
    if (const auto c = sip::parse_contact(v); c && c->address.uri_text == contact_) granted = c->expires.value_or(0);
  if ((granted != 0) != registered_)
    return home_.home.fail(7, fmt::format("{} was answered 200 to {} s with {} s for its contact", user_, wanted, granted));
  auto& known = home_.judge.of(number);
  const auto edge = home_.wire.machine_at(j.targets[j.at].remote);
  if (edge) home_.judge.registered_through(number, *edge);
  const bool small = edge && home_.home.at(*edge).running() && home_.home.at(*edge).proc().base().size() <= 2;
  known = {.aor = aor_, .contact = contact_, .call_id = j.call_id, .cseq = j.cseq, .there = registered_, .known = true, .alone = small,
           .edge = edge.value_or(-1), .answered = home_.time.now(), .until = home_.time.now() + seconds(granted)};
  const auto due = registered_ ? between(seconds(granted / 2), seconds(granted * 9 / 10)) : between(seconds(1), seconds(15));
  refresh_at_ = home_.time.now() + (held_ || random_.chance(0.7) ? due : std::min(due, between(seconds(1), seconds(20))));
  later(refresh_at_ - home_.time.now(), [this] { register_now(); });
}

} // namespace skald::sim
