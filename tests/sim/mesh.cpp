#include "tests/sim/mesh.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <utility>

namespace skald::sim {
namespace {
constexpr std::size_t head_bytes = 17, waiting_max = 64;
constexpr int tries_max = 6;
} // namespace

void mesh::put(machine_id to, kind k, std::uint64_t to_process, std::string_view payload) {
  std::string out(1, static_cast<char>(k));
  put_be<std::uint64_t>(out, process_);
  put_be<std::uint64_t>(out, to_process);
  net_.send(self_, to, out.append(payload));
}

void mesh::connect(machine_id to) {
  if (to == self_ || sessions_.contains(to)) return;
  sessions_[to];
  shake(to);
}

void mesh::shake(machine_id to) {
  session& s = sessions_[to];
  s.attempt = ++attempts_;
  put(to, kind::request, 0, {});
  timers_.at(time_.now() + seconds(1), [this, to, attempt = s.attempt] {
    const auto at = sessions_.find(to);
    if (at == sessions_.end() || at->second.attempt != attempt || at->second.up()) return;
    if (++at->second.tries >= tries_max) sessions_.erase(at);
    else shake(to);
  });
}

void mesh::send(machine_id to, std::string_view bytes) {
  connect(to);
  session& s = sessions_[to];
  if (s.up()) {
    s.asked = std::min(s.asked, time_.now());
    return put(to, kind::data, s.peer, bytes);
  }
  if (s.waiting.size() < waiting_max) s.waiting.emplace_back(bytes);
}

void mesh::drop(machine_id m) { sessions_.erase(m); }

void mesh::close() {
  for (const auto& [m, s] : sessions_)
    if (s.up()) put(m, kind::goodbye, s.peer, {});
  sessions_.clear();
}

void mesh::on_datagram(machine_id from, std::string_view bytes) {
  if (bytes.size() < head_bytes || on_.refused(from)) return;
  const auto k = static_cast<kind>(bytes[0]);
  const auto sender = get_be<std::uint64_t>(bytes.substr(1)), meant = get_be<std::uint64_t>(bytes.substr(9));
  const auto at = sessions_.find(from);
  switch (k) {
  case kind::request:
    put(from, kind::reply, sender, {});
    [[fallthrough]];
  case kind::reply: {
    if (k == kind::reply && meant != process_) return;
    session& s = sessions_[from];
    const bool fresh = s.peer != sender;
    s.peer = sender;
    s.tries = 0;
    s.asked = mono_time::max();
    for (const auto& w : std::exchange(s.waiting, {})) put(from, kind::data, sender, w);
    if (fresh) on_.peer(from);
    return;
  }
  case kind::data:
    if (meant != process_) return put(from, kind::unknown, meant, {});
    if (at == sessions_.end() || at->second.peer != sender) return;
    at->second.asked = mono_time::max();
    return on_.gossip(from, bytes.substr(head_bytes));
  case kind::goodbye:
    if (at == sessions_.end() || at->second.peer != sender || meant != process_) return;
    sessions_.erase(at);
    return on_.down(from);
  case kind::unknown:
    if (at == sessions_.end() || at->second.peer != meant) return;
    at->second = {};
    shake(from);
    return;
  }
}

std::vector<machine_id> mesh::peers() const {
  std::vector<machine_id> out;
  for (const auto& [m, s] : sessions_)
    if (s.up()) out.push_back(m);
  std::ranges::sort(out);
  return out;
}

duration mesh::silent_for(machine_id m) const {
  const auto at = sessions_.find(m);
  if (at == sessions_.end() || !at->second.up() || at->second.asked > time_.now()) return duration{0};
  return time_.now() - at->second.asked;
}

bool mesh::has_session(machine_id m) const {
  const auto at = sessions_.find(m);
  return at != sessions_.end() && at->second.up();
}

} // namespace skald::sim
