#include "dht/mesh/core.hpp"
#include "dht/mesh/kademlia_id.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"

#include <cstring>

namespace skald::dht {
namespace {

metrics::counter datagrams_received("skald_mesh_datagrams_received_total", "UDP datagrams received on the overlay port");

// What a cookie is bound to.
std::string cookie_client(const endpoint& from) {
  std::string out(reinterpret_cast<const char*>(from.ip.bytes.data()), from.ip.bytes.size());
  put_be(out, from.port);
  return out;
}

struct cookie_reply {
  session_host* host;
  const endpoint* to;
};

ssize_t push_cookie(gnutls_transport_ptr_t p, const void* data, std::size_t size) {
  const auto* const reply = static_cast<const cookie_reply*>(p);
  reply->host->transmit(*reply->to, {static_cast<const char*>(data), size});
  return static_cast<ssize_t>(size);
}

} // namespace

void mesh::core::on_datagram(const endpoint& from, std::string_view datagram) {
  datagrams_received.add();
  const auto look = look_at(datagram);
  switch (look.kind) {
  case record_kind::not_dtls: return refusals_.note(mesh_refusal::plain, from, {}, now());
  case record_kind::client_hello: return on_client_hello(from, datagram, look.random);
  case record_kind::plain: return on_plain_record(from, datagram);
  case record_kind::sealed: return on_sealed_record(from, datagram);
  }
}

// A node whose own address is among its seeds meets itself.
bool mesh::core::is_own_hello(const hello_random& random) {
  for (auto& [at, s] : slots_) {
    if (!s->fresh || s->fresh->role() != mesh_session::side::client || s->fresh->client_random() != random) continue;
    s->fresh.reset();
    s->queue.clear();
    s->queued_bytes = 0;
    s->not_before = now() + mesh_refused_pause;
    return true;
  }
  return false;
}

// Both ends said hello at once. Each knows both hellos' random numbers: the lower one's handshake goes on, the other
// is dropped by both. No word has to be exchanged, and no name is known yet that could be compared.
bool mesh::core::keeps_own_attempt(const endpoint& from, const hello_random& random) const {
  const auto found = slots_.find(from);
  if (found == slots_.end() || !found->second->fresh) return false;
  const auto& fresh = *found->second->fresh;
  return fresh.role() == mesh_session::side::client && fresh.client_random() < random;
}

// RFC 6347 §4.2.1: no state for an address that has not shown that it can hear us.
bool mesh::core::cookie_is_valid(const endpoint& from, std::string_view datagram, gnutls_dtls_prestate_st& prestate) {
  std::string client = cookie_client(from);
  gnutls_datum_t key{reinterpret_cast<unsigned char*>(cookie_key_.data()), static_cast<unsigned>(cookie_key_.size())};
  if (gnutls_dtls_cookie_verify(&key, client.data(), client.size(), const_cast<char*>(datagram.data()), datagram.size(), &prestate) >= 0)
    return true;
  cookie_reply reply{this, &from};
  gnutls_dtls_cookie_send(&key, client.data(), client.size(), &prestate, &reply, push_cookie);
  return false;
}

void mesh::core::on_client_hello(const endpoint& from, std::string_view datagram, const hello_random& random) {
  auto found = slots_.find(from);
  if (found != slots_.end()) {
    auto& s = *found->second;
    // A retransmission, or a duplicate from the network.
    const auto same = [&](const std::unique_ptr<mesh_session>& m) {
      return m && m->role() == mesh_session::side::server && m->client_random() == random;
    };
    if (same(s.live)) return;
    if (same(s.fresh)) return feed_fresh(from, datagram);
  }
  if (is_own_hello(random) || keeps_own_attempt(from, random)) return;
  gnutls_dtls_prestate_st prestate{};
  if (!cookie_is_valid(from, datagram, prestate)) return;
  if (found == slots_.end()) {
    if (!has_room_for(from))
      return refusals_.note(mesh_refusal::overload, from, "too many sessions", now());
    found = slots_.emplace(from, std::make_unique<slot>()).first;
  }
  // Beside a session that is up: the peer has restarted, or lost the session. The old one goes when the new one stands.
  auto& s = *found->second;
  s.fresh = std::make_unique<mesh_session>(mesh_session::side::server, *this, credentials_, from, &prestate);
  s.fresh->set_client_random(random);
  feed_fresh(from, datagram);
}

// Epoch 0: of a handshake that is going on; else perhaps a last flight repeated, which a session that is up answers.
void mesh::core::on_plain_record(const endpoint& from, std::string_view datagram) {
  const auto found = slots_.find(from);
  if (found == slots_.end()) return;
  if (found->second->fresh) return feed_fresh(from, datagram);
  if (found->second->live) feed_live(from, datagram);
}

void mesh::core::on_sealed_record(const endpoint& from, std::string_view datagram) {
  const auto found = slots_.find(from);
  if (found == slots_.end() || (!found->second->live && !found->second->fresh)) {
    // Somebody holds a session that we have forgotten, for instance over a restart: shake hands, so that it notices.
    // Anybody could have sent it under a false address, hence few.
    if (now() - lost_window_ > seconds(1)) {
      lost_window_ = now();
      lost_in_window_ = 0;
    }
    if (lost_in_window_++ < mesh_lost_sessions_per_s) begin_attempt(from);
    return;
  }
  // Records under the keys of the other session do not decrypt, and are dropped by the library.
  if (found->second->live) feed_live(from, datagram);
  const auto again = slots_.find(from); // a callback may have ended it all
  if (again != slots_.end() && again->second->fresh) feed_fresh(from, datagram);
}

void mesh::core::feed_fresh(const endpoint& from, std::string_view datagram) {
  auto& s = *slots_.at(from);
  std::vector<std::string> records;
  s.fresh->feed(datagram, records);
  if (s.twin_until && !records.empty()) return met_twin(from, records.front());
  after_handshake(from);
  const auto found = slots_.find(from);
  if (found == slots_.end()) return;
  if (found->second->twin_until && !records.empty()) return met_twin(from, records.front());
  deliver(from, records);
}

void mesh::core::feed_live(const endpoint& from, std::string_view datagram) {
  auto& s = *slots_.at(from);
  std::vector<std::string> records;
  s.live->feed(datagram, records);
  if (!records.empty()) {
    s.heard = now();
    s.awaiting = false;
  }
  const bool ended = s.live->now() != mesh_session::state::open;
  deliver(from, records);
  if (!ended) return;
  const auto found = slots_.find(from);
  if (found == slots_.end() || !found->second->live) return;
  end_live(from);
  drop_if_empty(from);
}

// Another process with its bundle was met last, and is silent now: killed, it said no goodbye. Till its session is
// collected, two minutes later, nothing would reach the one that goes on.
void mesh::core::speaks_from(const node_id& sender, const endpoint& at) {
  const auto home = homes_.find(sender);
  if (home == homes_.end() || home->second == at) return;
  const auto& s = *slots_.at(home->second);
  if (s.awaiting && now() - s.sent_since > mesh_quiet_max) home->second = at;
}

void mesh::core::deliver(const endpoint& from, const std::vector<std::string>& records) {
  for (const auto& record : records) {
    const auto found = slots_.find(from); // each delivery may change the world
    if (closed_ || found == slots_.end() || !found->second->live) return;
    auto& s = *found->second;
    const node_id sender = s.live->peer().id;
    auto message = s.parts.take(record, now());
    if (!message) {
      refusals_.note(mesh_refusal::frame, from, to_string(message.error()), now());
      continue;
    }
    if (!*message) continue;
    switch ((*message)->channel) {
    case mesh_channel::kademlia: deliver_kademlia(from, sender, std::move((*message)->bytes)); break;
    case mesh_channel::gossip:
      speaks_from(sender, from);
      if (on_.gossip) on_.gossip(sender, (*message)->bytes);
      break;
    }
  }
}

void mesh::core::deliver_kademlia(const endpoint& from, const node_id& sender, std::string bytes) {
  const auto claimed = claimed_id(bytes);
  if (!claimed || (*claimed && **claimed != sender)) {
    const bool forged = claimed || claimed.error() == errc::not_authentic;
    return refusals_.note(forged ? mesh_refusal::forged_id : mesh_refusal::frame, from, "in a Kademlia packet", now());
  }
  if (kademlia_sink_) kademlia_sink_(from, std::move(bytes));
}

void mesh::core::on_unreachable(const endpoint& to) {
  const auto found = slots_.find(to);
  if (found == slots_.end() || !found->second->live || !on_.unreachable) return;
  on_.unreachable(node_id(found->second->live->peer().id));
}

} // namespace skald::dht
