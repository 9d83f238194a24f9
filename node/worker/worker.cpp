#include "node/worker/worker.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "node/io/port_holder.hpp"
#include "node/io/stun.hpp"
#include "sip/message/stamp_via.hpp"

#include <algorithm>
#include <string>

namespace skald::node {
namespace {

metrics::counter unparsable("skald_sip_unparsable_total", "Datagrams and framed messages that are not SIP.");
metrics::counter keep_alives("skald_sip_keepalives_total", "CRLF, STUN and empty datagrams.");
metrics::counter moved("skald_sip_moved_total", "Messages handed to the worker they belong to.");
metrics::counter no_socket("skald_sip_no_socket_total", "Sends on a UDP flow for which there is no socket of ours.");

// sip.md §7: CRLF and zero bytes hold a NAT binding open, and are no errors.
bool is_keep_alive(std::string_view bytes) {
  return std::ranges::all_of(bytes, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

// A request that is broken within is kept, as far as it can be read, so that it can be answered 400.
result<sip::message> parse(std::string_view bytes) {
  auto whole = sip::message::parse(std::string(bytes));
  return whole ? std::move(whole) : sip::message::parse_lenient(std::string(bytes));
}

} // namespace

worker::worker(worker_config config, worker_group& group)
    : config_(std::move(config)), group_(group), loop_(group.clock),
      streams_(loop_, config_.index, group.streams, group.live, *this) {
  SKALD_ASSERT(group_.workers.size() == config_.index);
  group_.workers.push_back(this);
  streams_.set_sources(config_.addresses);
}

worker::~worker() { stop(); }

outcome<void> worker::bind() {
  for (const ip_address& a : config_.addresses)
    if (auto ok = bind_address(a); !ok) return ok;
  return {};
}

outcome<void> worker::bind_address(const ip_address& a) {
  if (config_.index == 0 && config_.sip_port != 0) // before any of ours has it
    for (const std::string_view protocol : {"udp", "tcp"})
      if (auto free = probe_port(protocol, {a, config_.sip_port}); !free) return free;
  if (config_.index == 0 && config_.sips && config_.sips_port != 0)
    if (auto free = probe_port("tcp", {a, config_.sips_port}); !free) return free;
  auto udp = udp_socket::open(loop_, {a, config_.sip_port}, *this);
  if (!udp) return std::unexpected(udp.error());
  config_.sip_port = (*udp)->local().port;
  sockets_.push_back(std::move(*udp));
  if (auto tcp = streams_.listen({a, config_.sip_port}, sip::transport::tcp); !tcp) return std::unexpected(tcp.error());
  if (!config_.sips) return {};
  auto tls = streams_.listen({a, config_.sips_port}, sip::transport::tls);
  if (!tls) return std::unexpected(tls.error());
  config_.sips_port = tls->port;
  return {};
}

void worker::start() {
  SKALD_ASSERT(user_ != nullptr);
  for (auto& s : sockets_) s->start();
  streams_.start();
  thread_ = std::jthread([this] { loop_.run(); });
}

void worker::stop() {
  loop_.stop();
  if (thread_.joinable()) thread_.join();
  streams_.close_all();
  sockets_.clear();
}

// ---- in

void worker::on_datagram(udp_socket& on, const endpoint& from, std::string_view bytes) {
  const sip::flow f{
      .transport = sip::transport::udp, .worker = config_.index, .serial = 0, .local = on.local(), .remote = from};
  const sip::arrival a{.flow = f, .at = came_};
  if (user_->takes(bytes, a)) take_up(bytes, a);
}

void worker::take_up(std::string_view bytes, const sip::arrival& from) {
  const bool datagram = from.flow.transport == sip::transport::udp;
  if (datagram && is_stun(bytes)) {
    keep_alives.add();
    if (const auto answer = stun_answer(bytes, from.flow.remote)) send(from.flow, *answer);
    return;
  }
  if (datagram && is_keep_alive(bytes)) return keep_alives.add();
  auto m = parse(bytes);
  if (!m) return unparsable.add();
  // On links the peer is known by its certificate, and answers go back on the link. Elsewhere one would find nobody.
  if (m->is_request() && !from.from_link() && !sip::stamp_top_via(*m, from.flow.remote)) return unparsable.add();
  if (datagram) dispatch(std::move(*m), from);
  else user_->on_message(std::move(*m), from);
}

void worker::dispatch(sip::message m, const sip::arrival& from) {
  if (m.is_request() && group_.workers.size() > 1)
    if (const auto owner = group_.index.owner(m, config_.index, loop_.now()); owner && *owner != config_.index)
      return hand_over(*owner, std::move(m), from);
  user_->on_message(std::move(m), from);
}

void worker::on_stream_message(std::string bytes, const sip::arrival& from) {
  if (from.from_link() || user_->takes(bytes, from)) take_up(bytes, from);
}

void worker::on_stream_gone(const sip::flow& f) {
  user_->on_flow_gone(f);
  const auto lent = lent_.extract(f.serial);
  for (std::size_t i = 0; lent && i < group_.workers.size(); ++i)
    if ((lent.mapped() >> i & 1) != 0) group_.workers[i]->tell_gone(f);
}

void worker::tell_gone(const sip::flow& f) {
  loop_.post([this, f] { user_->on_flow_gone(f); });
}

void worker::hand_over(std::uint16_t to, sip::message m, const sip::arrival& from) {
  if (to >= group_.workers.size()) return;
  moved.add();
  worker* other = group_.workers[to];
  other->loop_.post([other, m = std::move(m), from]() mutable { other->user_->on_message(std::move(m), from); });
}

void worker::adopt_link(accepted_link link) {
  loop_.post_always([this, link = std::move(link)]() mutable { streams_.adopt(std::move(link)); });
}

void worker::recheck_links() {
  loop_.post_always([this] { streams_.recheck_links(); });
}

void worker::drop_links(const node_id& peer) {
  loop_.post_always([this, peer] { streams_.drop_links(peer); });
}

// ---- out

bool worker::send(const sip::flow& where, std::string_view bytes) {
  if (where.transport == sip::transport::udp) {
    udp_socket* s = socket_for(where);
    if (s != nullptr) return s->send(where.remote, bytes);
    no_socket.add();
    return false;
  }
  return where.worker == config_.index ? streams_.send(where, bytes) : send_elsewhere(where, bytes);
}

bool worker::send_elsewhere(const sip::flow& where, std::string_view bytes) {
  if (where.worker >= group_.workers.size() || !group_.live.has(where)) return false;
  worker* other = group_.workers[where.worker];
  return other->loop_.post([this, other, where, text = std::string(bytes)] { other->send_for(*this, where, text); });
}

// The asker waits for an answer on that stream: it is told when none can come any more (RFC 3261 §17.1.4).
void worker::send_for(worker& asker, const sip::flow& where, std::string_view bytes) {
  if (!streams_.send(where, bytes)) return asker.tell_gone(where);
  lent_[where.serial] |= static_cast<std::uint16_t>(1u << asker.config_.index);
}

udp_socket* worker::socket_for(const sip::flow& f) {
  for (auto& s : sockets_)
    if (s->local() == f.local) return s.get();
  return nullptr;
}

// The socket whose address the kernel would choose towards that peer; where it would take none of ours, the first one
// of that family.
std::optional<sip::flow> worker::udp_flow_to(const endpoint& remote) {
  udp_socket* found = nullptr;
  std::size_t candidates = 0;
  for (auto& s : sockets_) {
    if (s->local().ip.family != remote.ip.family) continue;
    if (found == nullptr) found = s.get();
    ++candidates;
  }
  if (candidates > 1) {
    const owned_fd probe(::socket(family_of(remote), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage a;
    const socklen_t n = to_sockaddr(remote, a);
    if (probe && ::connect(probe.get(), reinterpret_cast<sockaddr*>(&a), n) == 0)
      for (auto& s : sockets_)
        if (s->local().ip == local_endpoint(probe.get()).ip) found = s.get();
  }
  if (found == nullptr) return std::nullopt;
  return sip::flow{.transport = sip::transport::udp,
                   .worker = config_.index,
                   .serial = 0,
                   .local = found->local(),
                   .remote = remote};
}

void worker::open(const sip::target& to, std::move_only_function<void(std::optional<sip::flow>)> done) {
  switch (to.transport) {
  case sip::transport::udp: return done(udp_flow_to(to.remote));
  case sip::transport::tcp:
  case sip::transport::tls: return streams_.open(to, std::move(done));
  case sip::transport::link: return done(std::nullopt); // by node id only
  }
}

void worker::open_link(const node_id& to, std::move_only_function<void(std::optional<sip::flow>)> done) {
  streams_.open_link(to, std::move(done));
}

std::optional<roles::flow_facts> worker::facts(const sip::flow& f) const {
  if (f.transport == sip::transport::udp) return roles::flow_facts{};
  if (f.worker != config_.index) return std::nullopt;
  const sip::arrival* a = streams_.find(f);
  if (a == nullptr) return std::nullopt;
  return roles::flow_facts{.sni = a->sni, .peer = a->peer};
}

endpoint worker::advertised(const sip::flow& f) const {
  const bool secure = f.transport == sip::transport::tls || f.transport == sip::transport::link;
  endpoint out{f.local.ip, secure ? config_.sips_port : config_.sip_port};
  if (config_.advertise && config_.advertise->family == out.ip.family) out.ip = *config_.advertise;
  return out;
}

// Unbounded: answers to what a worker asked, and messages under branches of ours, are as many as its contexts. Dropped,
// the context that waits would end on a foreign thread.
void worker::run_on(std::uint16_t to, std::move_only_function<void()> what) {
  if (to < group_.workers.size()) group_.workers[to]->loop_.post_always(std::move(what));
}

std::uint16_t worker::worker_count() const { return static_cast<std::uint16_t>(group_.workers.size()); }

bool worker::alive(const sip::flow& f) const {
  if (f.transport != sip::transport::udp) return group_.live.has(f);
  return std::ranges::any_of(sockets_, [&](const auto& s) { return s->local() == f.local; });
}

} // namespace skald::node
