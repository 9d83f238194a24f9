#include "dht/mesh/core.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"

#include <fmt/format.h>
#include <utility>

namespace skald::dht {
namespace {

constexpr milliseconds retransmit_period{50};
constexpr milliseconds housekeeping_period{1000};

metrics::counter datagrams_sent("skald_mesh_datagrams_sent_total", "UDP datagrams sent on the overlay port");
metrics::counter messages_lost("skald_mesh_messages_dropped_total", "own messages dropped because a queue of the mesh was full");
metrics::counter handshakes_done("skald_mesh_handshakes_total", "DTLS handshakes completed");
metrics::gauge sessions_up("skald_mesh_sessions", "DTLS sessions that are up");

} // namespace

mesh::core::core(asio::io_context& io, const clock& time, mesh_config config, mesh_callbacks on)
    : io_(io), time_(time), config_(std::move(config)), on_(std::move(on)), credentials_(certs::make_credentials(*config_.identity)),
      trust_(certs::trust_of(*config_.identity)) {
  trust_.crl = config_.crl;
  gnutls_datum_t key{};
  SKALD_ASSERT(gnutls_key_generate(&key, GNUTLS_COOKIE_KEY_SIZE) == 0);
  cookie_key_.assign(reinterpret_cast<const char*>(key.data), key.size);
  gnutls_free(key.data);
}

mesh::core::~core() = default;

outcome<void> mesh::core::open_sockets() {
  for (const auto& local : config_.bind) {
    auto& place = local.ip.is_v4() ? v4_ : v6_;
    // The socket's callbacks die with the socket, which dies with this object.
    udp_socket::handler on{[this](const endpoint& from, std::string_view d) { on_datagram(from, d); },
                           [this](const endpoint& to) { on_unreachable(to); }};
    auto opened = udp_socket::open(io_, local, std::move(on));
    if (!opened) return std::unexpected(opened.error());
    place = std::move(*opened);
  }
  retransmit_ = std::make_unique<ticker>(io_, retransmit_period, [this] { retransmit_tick(); });
  housekeeping_ = std::make_unique<ticker>(io_, housekeeping_period, [this] { housekeeping_tick(); });
  return {};
}

void mesh::core::close() {
  if (closed_) return;
  closed_ = true;
  kademlia_sink_ = nullptr;
  retransmit_.reset();
  housekeeping_.reset();
  for (auto& [at, s] : slots_)
    if (s->live) {
      s->live->say_goodbye();
      sessions_up.add(-1);
    }
  slots_.clear();
  homes_.clear();
  v4_.reset();
  v6_.reset();
}

endpoint mesh::core::local(ip_family family) const {
  const auto& s = family == ip_family::v4 ? v4_ : v6_;
  return s ? s->local() : endpoint{};
}

void mesh::core::transmit(const endpoint& to, std::string_view datagram) {
  const auto& s = to.ip.is_v4() ? v4_ : v6_;
  if (!s || (config_.lose && config_.lose())) return;
  datagrams_sent.add();
  s->send(to, datagram);
}

std::expected<certs::peer, certs::refusal> mesh::core::judge(gnutls_session_t session) {
  return certs::check_session(session, trust_, time_.wall());
}

bool mesh::core::has_room_for(const endpoint& from) const {
  std::size_t all = 0, of_this_host = 0;
  for (const auto& [at, s] : slots_) {
    all += s->fresh != nullptr;
    of_this_host += s->fresh && at.ip == from.ip;
  }
  return slots_.size() < mesh_sessions_max && all < mesh_handshakes_max && of_this_host < mesh_handshakes_per_host_max;
}

// --- sessions ---

void mesh::core::begin_attempt(const endpoint& to) {
  const auto& socket = to.ip.is_v4() ? v4_ : v6_;
  if (closed_ || !socket || to.port == 0) return;
  auto found = slots_.find(to);
  if (found == slots_.end()) {
    if (!has_room_for(to)) {
      refusals_.note(mesh_refusal::overload, to, "too many sessions", now());
      return;
    }
    found = slots_.emplace(to, std::make_unique<slot>()).first;
  }
  auto& s = *found->second;
  if (s.fresh || now() < s.not_before) return;
  s.fresh = std::make_unique<mesh_session>(mesh_session::side::client, *this, credentials_, to);
  s.fresh->start();
}

void mesh::core::connect(const endpoint& to) {
  const auto found = slots_.find(to);
  if (found == slots_.end() || !found->second->live) begin_attempt(to);
}

void mesh::core::after_handshake(const endpoint& at) {
  auto& s = *slots_.at(at);
  switch (s.fresh->now()) {
  case mesh_session::state::handshaking: return;
  case mesh_session::state::open: return adopt(at);
  case mesh_session::state::failed:
  case mesh_session::state::ended: return give_up(at);
  }
}

void mesh::core::adopt(const endpoint& at) {
  auto& s = *slots_.at(at);
  const auto peer = s.fresh->peer();
  handshakes_done.add();
  if (peer.id == self()) return ask_twin(at);
  if (s.live && s.live->peer().id != peer.id) end_live(at);
  if (!s.live) sessions_up.add(1);
  s.live = std::move(s.fresh);
  s.parts = {};
  s.heard = now();
  s.awaiting = false;
  const auto home = homes_.find(peer.id);
  const std::optional<endpoint> before = home != homes_.end() && home->second != at ? std::optional(home->second) : std::nullopt;
  homes_[peer.id] = at;
  log::debug("mesh", fmt::format("session with {} at {}", peer.name, at.text()));
  const mesh_peer who{peer.id, peer.name, at, peer.roles, s.live->peer_certificate()};
  flush(at);
  if (on_.peer) on_.peer(who);
  if (before && on_.doubled) on_.doubled(peer.id, *before, at);
}

// Both ends tell each other who they are; which of them goes on is for those who asked (consistency.md §7).
void mesh::core::ask_twin(const endpoint& at) {
  auto& s = *slots_.at(at);
  if (s.twin_until) {
    if (now() >= *s.twin_until) met_twin(at, {});
    return;
  }
  s.twin_until = now() + mesh_twin_patience;
  s.fresh->send(config_.twin_claim ? config_.twin_claim() : std::string("-"));
}

void mesh::core::met_twin(const endpoint& at, std::string claim) {
  auto& s = *slots_.at(at);
  if (!claim.empty()) s.fresh->send(config_.twin_claim ? config_.twin_claim() : std::string("-")); // again: the first may be lost
  s.fresh->say_goodbye();
  s.fresh.reset();
  s.twin_until.reset();
  s.not_before = now() + mesh_refused_pause;
  s.queue.clear();
  s.queued_bytes = 0;
  log::warning("mesh", fmt::format("{} holds this node's own certificate", at.text()));
  if (on_.twin) on_.twin(at, claim);
}

void mesh::core::give_up(const endpoint& at) {
  auto& s = *slots_.at(at);
  if (s.twin_until) return met_twin(at, {});
  const auto& f = *s.fresh;
  const bool silent = !f.refusal() && f.problem() == "no answer";
  if (f.refusal()) refusals_.note(refusal_from(*f.refusal()), at, {}, now());
  else if (!silent) refusals_.note(mesh_refusal::handshake, at, f.problem(), now());
  if (!silent && f.role() == mesh_session::side::client) s.not_before = now() + mesh_refused_pause;
  s.fresh.reset();
  if (!s.live) {
    s.queue.clear();
    s.queued_bytes = 0;
  }
  drop_if_empty(at);
}

// The session at this endpoint is over; another one with the same node may go on elsewhere.
void mesh::core::end_live(const endpoint& at) {
  auto& s = *slots_.at(at);
  const node_id id = s.live->peer().id;
  s.live.reset();
  s.awaiting = false;
  sessions_up.add(-1);
  const auto home = homes_.find(id);
  if (home == homes_.end() || home->second != at) return;
  for (const auto& [other, o] : slots_)
    if (o->live && o->live->peer().id == id) {
      home->second = other;
      return;
    }
  homes_.erase(home);
  if (on_.peer_down) on_.peer_down(id);
}

void mesh::core::drop_if_empty(const endpoint& at) {
  const auto found = slots_.find(at);
  if (found == slots_.end()) return;
  const auto& s = *found->second;
  if (!s.live && !s.fresh && now() >= s.not_before) slots_.erase(found);
}

// --- sending ---

std::optional<endpoint> mesh::core::way_to(const node_id& member) const {
  const auto home = homes_.find(member);
  const auto told = addresses_.find(member);
  if (home == homes_.end()) return told == addresses_.end() ? std::nullopt : std::optional(told->second);
  if (told == addresses_.end() || told->second == home->second) return home->second;
  // It says that it listens elsewhere, and where it was it is silent: it has moved.
  const auto& s = *slots_.at(home->second);
  return s.awaiting && now() - s.sent_since > mesh_quiet_max ? told->second : home->second;
}

bool mesh::core::send_gossip(const node_id& to, std::string_view bytes) {
  const auto way = way_to(to);
  if (!way || closed_) return false;
  send(*way, {mesh_channel::gossip, to, std::string(bytes)});
  return true;
}

bool mesh::core::send_gossip_at(const endpoint& at, std::string_view bytes) {
  const auto found = slots_.find(at);
  if (closed_ || found == slots_.end() || !found->second->live) return false;
  send_now(*found->second, {mesh_channel::gossip, std::nullopt, std::string(bytes)});
  return true;
}

void mesh::core::post_kademlia(const endpoint& to, std::string bytes) {
  if (posted_.fetch_add(1) >= mesh_posted_max) {
    posted_.fetch_sub(1);
    messages_lost.add();
    return;
  }
  post_to(io_, [weak = weak_from_this(), to, bytes = std::move(bytes)]() mutable {
    const auto self = weak.lock();
    if (!self) return;
    self->posted_.fetch_sub(1);
    if (!self->closed_) self->send(to, {mesh_channel::kademlia, std::nullopt, std::move(bytes)});
  });
}

void mesh::core::send(const endpoint& to, waiting what) {
  const auto found = slots_.find(to);
  if (found != slots_.end() && found->second->live) {
    auto& s = *found->second;
    if (!s.awaiting) s.sent_since = now();
    s.awaiting = true;
    send_now(s, what);
    // Nothing came back for long: the peer may have lost the session (a restart). The old one serves on meanwhile.
    if (now() - s.sent_since > mesh_quiet_max) begin_attempt(to);
    return;
  }
  begin_attempt(to);
  const auto slot_now = slots_.find(to);
  if (slot_now == slots_.end() || !slot_now->second->fresh) return;
  auto& s = *slot_now->second;
  if (s.queue.size() >= mesh_waiting_messages_max || s.queued_bytes + what.bytes.size() > mesh_waiting_bytes_max) {
    messages_lost.add();
    return;
  }
  s.queued_bytes += what.bytes.size();
  s.queue.push_back(std::move(what));
}

void mesh::core::send_now(slot& s, const waiting& what) {
  if (what.only_for && s.live->peer().id != *what.only_for) return;
  for (const auto& record : cut_message(what.channel, what.bytes, s.live->record_bytes(), next_message_++)) s.live->send(record);
}

void mesh::core::flush(const endpoint& at) {
  auto& s = *slots_.at(at);
  for (const auto& what : std::exchange(s.queue, {})) send_now(s, what);
  s.queued_bytes = 0;
}

// --- time ---

void mesh::core::retransmit_tick() {
  std::vector<endpoint> busy;
  for (const auto& [at, s] : slots_)
    if (s->fresh) busy.push_back(at);
  for (const auto& at : busy) {
    const auto found = slots_.find(at);
    if (found == slots_.end() || !found->second->fresh) continue; // a callback ended it
    found->second->fresh->retransmit_if_due();
    after_handshake(at);
  }
}

void mesh::core::housekeeping_tick() {
  std::vector<endpoint> all;
  for (const auto& [at, s] : slots_) all.push_back(at);
  for (const auto& at : all) {
    const auto found = slots_.find(at);
    if (found == slots_.end()) continue;
    auto& s = *found->second;
    const bool expired = s.live && time_.wall() > s.live->peer().not_after;
    if (expired) refusals_.note(mesh_refusal::expired, at, "its session ends", now());
    if (s.live && (expired || now() - s.heard > mesh_idle_max)) {
      s.live->say_goodbye();
      end_live(at);
    }
    drop_if_empty(at);
  }
}

void mesh::core::set_crl(std::string der) {
  trust_.crl = std::move(der);
  std::vector<endpoint> revoked;
  for (const auto& [at, s] : slots_) {
    if (!s->live) continue;
    const std::string_view chain[] = {s->live->peer_certificate()};
    const auto verdict = certs::check_peer(chain, trust_, time_.wall());
    if (!verdict && verdict.error() == certs::refusal::revoked) revoked.push_back(at);
  }
  for (const auto& at : revoked) {
    const auto found = slots_.find(at);
    if (found == slots_.end() || !found->second->live) continue;
    refusals_.note(mesh_refusal::revoked, at, "its session ends", now());
    found->second->live->say_goodbye();
    end_live(at);
    drop_if_empty(at);
  }
}

void mesh::core::set_identity(certs::bundle_ptr renewed) {
  SKALD_ASSERT(renewed->id == self());
  config_.identity = std::move(renewed);
  credentials_ = certs::make_credentials(*config_.identity);
  std::vector<endpoint> up;
  for (const auto& [at, s] : slots_)
    if (s->live) up.push_back(at);
  for (const endpoint& at : up) begin_attempt(at);
}

std::vector<mesh_peer> mesh::core::peers() const {
  std::vector<mesh_peer> out;
  for (const auto& [id, at] : homes_) {
    const auto& s = *slots_.at(at)->live;
    out.push_back({id, s.peer().name, at, s.peer().roles, s.peer_certificate()});
  }
  return out;
}

} // namespace skald::dht
