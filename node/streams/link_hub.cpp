#include "node/streams/link_hub.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace skald::node {
namespace {

metrics::counter frames_in("skald_link_frames_received_total", "Frames received on skald/1 links.");
metrics::counter frames_out("skald_link_frames_sent_total", "Frames given to skald/1 links.");
metrics::counter frames_refused("skald_link_frames_unsent_total",
                                "Frames not sent: no such member, a full queue, or a pause between calls.");
metrics::gauge links_up("skald_links_up", "skald/1 sessions that are up.");

std::string short_id(const node_id& id) { return id.hex().substr(0, 8); }

} // namespace

link_hub::link_hub(loop& on, link_hub_config config, const stream_setup& setup, std::function<dht::hello()> hello,
                   std::move_only_function<void(accepted_link)> to_worker)
    : loop_(on), config_(std::move(config)), setup_(setup), hello_(std::move(hello)), to_worker_(std::move(to_worker)),
      server_(on, setup.links, setup.verify_peer, [this](std::string_view alpn, accepted_link link) {
        if (alpn == alpn_sip) return to_worker_(std::move(link));
        accepted_store_link(std::move(link));
      }),
      ended_(on) {}

link_hub::~link_hub() = default;

outcome<void> link_hub::bind() {
  for (const ip_address& a : config_.addresses) {
    const auto bound = server_.listen({a, config_.port});
    if (!bound) return std::unexpected(bound.error());
    config_.port = bound->port;
  }
  return {};
}

void link_hub::start() {
  SKALD_ASSERT(user_ != nullptr);
  server_.start();
}

void link_hub::stop() {
  user_ = nullptr;
  auto all = std::move(peers_);
  peers_.clear(); // what the sessions report now finds nobody
  for (auto& [id, p] : all)
    for (auto& s : p.sessions) s->end(dht::goodbye::reason::closing, "the node stops");
}

std::unique_ptr<link_session> link_hub::new_session(const node_id& peer) {
  link_session_user& me = *this;
  return std::make_unique<link_session>(loop_, peer, hello_(), me);
}

bool link_hub::send(const node_id& to, dht::frame f) {
  if (to == config_.self) return false;
  peer_state& p = peers_[to];
  const std::size_t waiting = p.waiting.size() + (p.current != nullptr ? p.current->queued() : 0);
  bool ok = waiting + f.body.size() <= link_queue_bytes_max;
  if (ok && p.current != nullptr) {
    std::string framed;
    dht::append_frame(framed, f);
    ok = p.current->send(framed);
  } else if (ok) {
    ok = p.calling != nullptr || call(to, p);
    if (ok) dht::append_frame(p.waiting, f);
  }
  (ok ? frames_out : frames_refused).add();
  return ok;
}

bool link_hub::call(const node_id& to, peer_state& p) {
  if (loop_.now() < p.retry_at) return false;
  const auto where = setup_.where_is ? setup_.where_is(to) : std::nullopt;
  auto credentials = setup_.links.get();
  if (!where || !credentials) return false;
  auto tls = std::make_unique<tls_engine>(std::move(credentials),
                                          tls_options{.use = tls_use::link, .alpn = {std::string(alpn_store)}});
  ip_address from{where->ip.family, {}};
  for (const ip_address& a : config_.addresses)
    if (a.family == from.family && from.is_any()) from = a;
  if (p.current == nullptr && p.failing_since == mono_time{}) p.failing_since = loop_.now();
  p.sessions.push_back(new_session(to));
  p.calling = p.sessions.back().get();
  p.calling->dial(*where, from, std::move(tls));
  return true;
}

void link_hub::accepted_store_link(accepted_link link) {
  if (user_ == nullptr) return;
  peer_state& p = peers_[link.peer];
  if (p.sessions.size() >= link_sessions_per_peer_max)
    if (const auto old = std::ranges::find_if(p.sessions, [](const auto& s) { return !s->outbound(); });
        old != p.sessions.end())
      (*old)->end(dht::goodbye::reason::duplicate, "too many links from one node");
  peer_state& q = peers_[link.peer];
  q.sessions.push_back(new_session(link.peer));
  link_session& s = *q.sessions.back();
  s.accept(std::move(link.parts));
}

bool link_hub::accepts_peer(link_session& s) {
  const auto peer = setup_.verify_peer ? setup_.verify_peer(s.tls()->peer_chain()) : std::unexpected(link_refusal::other);
  if (peer && peer->id == s.peer()) return true;
  note_refused_link(peer ? link_refusal::wrong_node : peer.error(), s.remote(), "");
  return false;
}

void link_hub::on_session_up(link_session& s) {
  const auto it = peers_.find(s.peer());
  if (it == peers_.end()) return;
  peer_state& p = it->second;
  links_up.add(1);
  if (p.calling == &s) p.calling = nullptr;
  p.pause = duration{0};
  p.retry_at = p.failing_since = {};
  if (p.current != nullptr) return; // a second one, in reserve
  p.current = &s;
  log::debug("link", fmt::format("link with {} at {} is up", short_id(s.peer()), s.remote().text()));
  flush_waiting(p);
  user_->on_link_up(s.peer());
}

void link_hub::flush_waiting(peer_state& p) {
  std::string framed;
  framed.swap(p.waiting);
  if (!framed.empty()) p.current->send(framed);
}

void link_hub::on_session_frame(link_session& s, dht::frame f) {
  frames_in.add();
  if (user_ != nullptr) user_->on_frame(s.peer(), std::move(f));
}

void link_hub::on_session_ended(link_session& s, std::string_view why) {
  const auto it = peers_.find(s.peer());
  if (it == peers_.end()) return;
  peer_state& p = it->second;
  const auto mine = std::ranges::find_if(p.sessions, [&](const auto& x) { return x.get() == &s; });
  if (mine == p.sessions.end()) return;
  ended_.bury(std::move(*mine));
  p.sessions.erase(mine);
  const node_id peer = s.peer();
  const bool called = p.calling == &s;
  if (called) p.calling = nullptr;
  if (p.current == &s) p.current = nullptr;
  log::debug("link", fmt::format("link with {} ended: {}", short_id(peer), why));
  bool lost = s.up();
  if (s.up()) links_up.add(-1);
  if (called) { // the next call waits, longer each time, so that a dead node costs little
    p.pause = p.pause == duration{0} ? duration(link_retry_first) : std::min(p.pause * 2, duration(link_retry_last));
    p.retry_at = loop_.now() + p.pause;
  }
  if (called && p.current == nullptr && !p.waiting.empty()) {
    p.waiting.clear();
    lost = true;
  }
  choose(p);
  const bool still = p.current != nullptr;
  if (!lost || user_ == nullptr) return;
  user_->on_link_down(peer); // may send, and so change what `p` is
  if (still && up(peer)) user_->on_link_up(peer);
}

void link_hub::choose(peer_state& p) {
  for (auto& s : p.sessions)
    if (p.current == nullptr && s->up()) p.current = s.get();
  if (p.current != nullptr) flush_waiting(p);
}

bool link_hub::up(const node_id& peer) const {
  const auto it = peers_.find(peer);
  return it != peers_.end() && it->second.current != nullptr;
}

bool link_hub::failing(const node_id& peer) const {
  const auto it = peers_.find(peer);
  if (it == peers_.end() || it->second.current != nullptr || it->second.failing_since == mono_time{}) return false;
  return loop_.now() - it->second.failing_since >= link_failing_after;
}

void link_hub::call_again(const node_id& peer) {
  const auto it = peers_.find(peer);
  if (it == peers_.end() || it->second.current != nullptr || it->second.calling != nullptr || it->second.failing_since == mono_time{}) return;
  call(peer, it->second);
}

std::vector<node_id> link_hub::peers() const {
  std::vector<node_id> out;
  for (const auto& [id, p] : peers_)
    if (p.current != nullptr) out.push_back(id);
  std::ranges::sort(out);
  return out;
}

void link_hub::disconnect(const node_id& peer) {
  const auto it = peers_.find(peer);
  if (it == peers_.end()) return;
  peer_state gone = std::move(it->second);
  peers_.erase(it);
  const bool was_up = gone.current != nullptr;
  for (auto& s : gone.sessions) {
    if (s->up()) links_up.add(-1);
    s->end(dht::goodbye::reason::closing, "no longer a member");
    ended_.bury(std::move(s));
  }
  if (was_up && user_ != nullptr) user_->on_link_down(peer);
}

void link_hub::recheck() {
  std::vector<link_session*> out;
  for (auto& [id, p] : peers_)
    for (auto& s : p.sessions)
      if (s->up()) {
        const auto peer = setup_.verify_peer(s->tls()->peer_chain());
        if (peer && peer->id == id) continue;
        note_refused_link(peer ? link_refusal::wrong_node : peer.error(), s->remote(), "after a change of what is revoked");
        out.push_back(s.get());
      }
  for (link_session* s : out) s->end(dht::goodbye::reason::revoked, "certificate no longer accepted");
}

} // namespace skald::node
