#include "tests/sim/sip_links.hpp"

#include "base/errors.hpp"

#include <utility>

namespace skald::sim {
namespace {
constexpr std::size_t queue_bytes_max = 8 << 20; // node/io/tcp_stream's
} // namespace

// The stream's number is the same at both ends, and never used twice in a run.
sip::flow sip_links::flow_of(stream_id s, machine_id peer) const {
  return {.transport = sip::transport::link, .serial = static_cast<std::uint32_t>(s), .local = around_.address_of(around_.self), .remote = around_.address_of(peer)};
}

void sip_links::open(const node_id& to, opened done) {
  if (const auto known = called_.find(to); known != called_.end()) {
    session& s = sessions_.at(known->second);
    if (s.open) return done(s.facts.flow);
    s.waiting.push_back(std::move(done));
    return;
  }
  const auto there = around_.where_is(to);
  if (!there || *there == around_.self) return done(std::nullopt);
  const stream_id id = around_.net.dial(around_.self, *there, stream_use::sip_link);
  session& s = sessions_[id];
  s.facts = {.flow = flow_of(id, *there), .peer = to};
  s.called = to;
  s.waiting.push_back(std::move(done));
  called_[to] = id;
}

bool sip_links::send(const sip::flow& f, std::string_view bytes) {
  if (!has(f) || around_.net.queued(f.serial, around_.self) + bytes.size() > queue_bytes_max) return false;
  around_.net.write(f.serial, around_.self, std::string(bytes));
  return true;
}

const sip::arrival* sip_links::find(const sip::flow& f) const {
  const auto at = sessions_.find(f.serial);
  return at != sessions_.end() && at->second.open && at->second.facts.flow.remote == f.remote ? &at->second.facts : nullptr;
}

bool sip_links::has(const sip::flow& f) const { return find(f) != nullptr; }

void sip_links::drop(const node_id& peer) {
  std::vector<stream_id> out;
  for (const auto& [id, s] : sessions_)
    if (s.facts.peer == peer) out.push_back(id);
  for (const stream_id id : out) {
    around_.net.close(id, around_.self);
    on_stream_closed(id);
  }
}

bool sip_links::on_stream_open(stream_id id, machine_id peer, bool outbound) {
  if (!outbound) sessions_[id].facts = {.flow = flow_of(id, peer), .peer = around_.id_of(peer)};
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return false;
  at->second.open = true;
  const sip::flow f = at->second.facts.flow;
  for (auto& done : std::exchange(at->second.waiting, {})) done(f);
  return true;
}

bool sip_links::on_stream_bytes(stream_id id, std::string_view bytes) {
  auto at = sessions_.find(id);
  if (at == sessions_.end()) return false;
  at->second.framer.feed(bytes);
  for (;;) {
    at = sessions_.find(id); // what a message led to may have ended it
    if (at == sessions_.end()) return true;
    sip::frame f = at->second.framer.next();
    SKALD_ASSERT(f.kind != sip::frame_kind::error); // nodes of ours wrote it
    if (f.kind == sip::frame_kind::nothing) return true;
    if (f.kind != sip::frame_kind::message) continue;
    at->second.facts.at = around_.time.now();
    const sip::arrival from = at->second.facts;
    user_.on_link_message(std::move(f.bytes), from);
  }
}

bool sip_links::on_stream_closed(stream_id id) {
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return false;
  session s = std::move(at->second);
  sessions_.erase(at);
  if (const auto c = called_.find(s.called); c != called_.end() && c->second == id) called_.erase(c);
  for (auto& done : s.waiting) done(std::nullopt);
  if (s.open) user_.on_link_gone(s.facts.flow);
  return true;
}

} // namespace skald::sim
