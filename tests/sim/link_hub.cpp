#include "tests/sim/link_hub.hpp"

#include "base/errors.hpp"
#include "dht/link/messages.hpp"

#include <algorithm>
#include <utility>

namespace skald::sim {
namespace { // the numbers of node/streams/link_hub.hpp
constexpr std::size_t queue_bytes_max = 8 << 20;
constexpr duration retry_first = milliseconds(100), retry_last = seconds(2), link_failing_after = seconds(2);
} // namespace

link_hub::link_hub(network& net, machine_id self, const clock& time, dht::link_user& user, where where_is,
                   std::function<node_id(machine_id)> id_of)
    : net_(net), self_(self), time_(time), user_(user), where_is_(std::move(where_is)), id_of_(std::move(id_of)) {}

bool link_hub::send(const node_id& to, dht::frame f) {
  if (to == id_of_(self_)) return false;
  peer_state& p = peers_[to];
  const std::size_t waiting = p.waiting.size() + (p.current != nullptr ? net_.queued(p.current->stream, self_) : 0);
  if (waiting + f.body.size() > queue_bytes_max) return false;
  std::string framed;
  dht::append_frame(framed, f);
  if (p.current != nullptr) {
    net_.write(p.current->stream, self_, std::move(framed));
    return true;
  }
  if (p.calling == nullptr && !call(to, p)) return false;
  p.waiting += framed;
  return true;
}

bool link_hub::call(const node_id& to, peer_state& p) {
  if (time_.now() < p.retry_at) return false;
  const auto there = where_is_(to);
  if (!there) return false;
  if (p.current == nullptr && p.failing_since == mono_time{}) p.failing_since = time_.now();
  auto s = std::make_unique<session>();
  s->stream = net_.dial(self_, *there, stream_use::store_link);
  s->peer = to;
  s->outbound = true;
  streams_[s->stream] = s.get();
  p.calling = s.get();
  p.sessions.push_back(std::move(s));
  return true;
}

link_hub::session* link_hub::find(stream_id stream) {
  const auto at = streams_.find(stream);
  return at == streams_.end() ? nullptr : at->second;
}

bool link_hub::on_stream_open(stream_id stream, machine_id peer, bool outbound) {
  if (!outbound) {
    auto s = std::make_unique<session>();
    s->stream = stream;
    s->peer = id_of_(peer);
    streams_[stream] = s.get();
    peers_[s->peer].sessions.push_back(std::move(s));
  }
  session* s = find(stream);
  if (s == nullptr) return false;
  s->open = true;
  std::string hello;
  dht::append_frame(hello, dht::hello{}.encode());
  net_.write(stream, self_, std::move(hello));
  return true;
}

bool link_hub::on_stream_bytes(stream_id stream, std::string_view bytes) {
  session* s = find(stream);
  if (s == nullptr) return false;
  s->decoder.feed(bytes);
  for (;;) {
    s = find(stream); // what a frame led to may have ended it
    if (s == nullptr) return true;
    auto next = s->decoder.next();
    SKALD_ASSERT(next.has_value());
    if (!next->has_value()) return true;
    take(*s, std::move(**next));
  }
}

void link_hub::take(session& s, dht::frame f) {
  if (f.type == dht::frame_type::hello) return session_up(s);
  if (f.type == dht::frame_type::link_ping) { // answered by the link itself (ring-and-membership B3)
    if (const auto ping = dht::link_ping::decode(f)) {
      std::string out;
      dht::append_frame(out, dht::link_pong{ping->number}.encode());
      net_.write(s.stream, self_, std::move(out));
    }
    return;
  }
  user_.on_frame(s.peer, std::move(f));
}

void link_hub::session_up(session& s) {
  s.up = true;
  peer_state& p = peers_[s.peer];
  if (p.calling == &s) p.calling = nullptr;
  p.pause = duration{0};
  p.retry_at = p.failing_since = {};
  if (p.current != nullptr) return; // a second one, in reserve
  p.current = &s;
  if (!p.waiting.empty()) net_.write(s.stream, self_, std::exchange(p.waiting, {}));
  user_.on_link_up(s.peer);
}

bool link_hub::on_stream_closed(stream_id stream) {
  session* s = find(stream);
  if (s == nullptr) return false;
  const node_id peer = s->peer;
  peer_state& p = peers_[peer];
  const bool called = p.calling == s;
  bool lost = s->up;
  if (called) p.calling = nullptr;
  if (p.current == s) p.current = nullptr;
  std::erase_if(p.sessions, [&](const auto& x) { return x.get() == s; });
  streams_.erase(stream);
  if (called) {
    p.pause = p.pause == duration{0} ? retry_first : std::min(p.pause * 2, retry_last);
    p.retry_at = time_.now() + p.pause;
  }
  if (called && p.current == nullptr && !p.waiting.empty()) {
    p.waiting.clear();
    lost = true;
  }
  for (auto& x : p.sessions)
    if (p.current == nullptr && x->up) p.current = x.get();
  if (p.current != nullptr && !p.waiting.empty()) net_.write(p.current->stream, self_, std::exchange(p.waiting, {}));
  const bool still = p.current != nullptr;
  if (!lost) return true;
  user_.on_link_down(peer);
  if (still && peers_.contains(peer)) user_.on_link_up(peer);
  return true;
}

bool link_hub::failing(const node_id& peer) const {
  const auto at = peers_.find(peer);
  if (at == peers_.end() || at->second.current != nullptr || at->second.failing_since == mono_time{}) return false;
  return time_.now() - at->second.failing_since >= link_failing_after;
}

void link_hub::call_again(const node_id& peer) {
  const auto at = peers_.find(peer);
  if (at == peers_.end() || at->second.current != nullptr || at->second.calling != nullptr || at->second.failing_since == mono_time{}) return;
  call(peer, at->second);
}

void link_hub::disconnect(const node_id& peer) {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return;
  const peer_state gone = std::move(at->second);
  peers_.erase(at);
  for (const auto& s : gone.sessions) streams_.erase(s->stream);
  for (const auto& s : gone.sessions) net_.close(s->stream, self_);
  if (gone.current != nullptr) user_.on_link_down(peer);
}

std::size_t link_hub::queued() const {
  std::size_t n = 0;
  for (const auto& [id, p] : peers_) n += p.waiting.size();
  return n;
}

} // namespace skald::sim
