#include "tests/sim/network.hpp"

#include <algorithm>
#include <utility>

namespace skald::sim {
namespace {

constexpr std::size_t socket_datagrams_max = 500;   // wait for a paused process
constexpr duration retransmission = milliseconds(200), retransmission_max = seconds(3);
constexpr duration connect_timeout = seconds(4);
constexpr duration user_timeout = seconds(10);      // TCP_USER_TIMEOUT of links
constexpr duration keep_alive = seconds(25);
constexpr duration watch_period = seconds(5);
constexpr int handshake_flights = 4;                // TCP's and TLS's, after the first

} // namespace

bool network::carries(machine_id from, machine_id to) const { return open(from, to) && !closed_streams_.contains({from, to}); }

bool network::open(machine_id from, machine_id to) const {
  return host(from).power && host(to).power && !closed_.contains({from, to});
}

void network::heal() {
  closed_.clear();
  closed_datagrams_.clear();
  closed_streams_.clear();
}

void network::set_slow(machine_id m, duration extra, std::uint64_t bytes_per_s) {
  host(m).extra = extra;
  host(m).bytes_per_s = bytes_per_s;
}

duration network::delay(machine_id from, machine_id to, std::size_t bytes) {
  const auto span = static_cast<std::uint64_t>((quality_.delay_max - quality_.delay_min).count());
  duration d = quality_.delay_min + duration(world_.random.below(span + 1)) + host(from).extra + host(to).extra;
  if (quality_.reordering > 0 && world_.random.chance(quality_.reordering)) d += 10 * quality_.delay_max;
  for (const std::uint64_t rate : {quality_.bytes_per_s, host(from).bytes_per_s, host(to).bytes_per_s})
    if (rate > 0) d += duration(static_cast<std::int64_t>(bytes * 1'000'000 / rate));
  return d;
}

void network::plug(machine_id m, net_user* process) {
  machine& h = host(m);
  if (h.user != nullptr && process == nullptr)
    for (const stream_id id : h.streams)
      for (int side : {0, 1})
        if (stream* s = find(id); s->ends[side].at == m && s->ends[side].open) {
          s->ends[side].open = false;
          if (h.power) reset_after(id, 1 - side);
        }
  h.user = process;
  h.paused = false;
  h.socket.clear();
  ++h.epoch;
}

void network::set_power(machine_id m, bool on) { host(m).power = on; }

void network::set_paused(machine_id m, bool paused) {
  machine& h = host(m);
  if (h.paused == paused) return;
  h.paused = paused;
  if (paused || h.user == nullptr) return;
  for (auto& d : std::exchange(h.socket, {}))
    if (h.user != nullptr) h.user->on_datagram(d.from, std::move(d.bytes));
  const std::vector<stream_id> here(h.streams.begin(), h.streams.end()); // what came led to others, perhaps
  for (const stream_id id : here)
    for (int side : {0, 1})
      if (stream* s = find(id); s != nullptr && s->ends[1 - side].at == m && !s->ends[side].sent.empty() && !s->ends[side].moving)
        arm(id, side, world_.now());
}

// ---- datagrams

void network::send(machine_id from, machine_id to, std::string bytes) {
  ++datagrams_;
  if (!open(from, to) || closed_datagrams_.contains({from, to})) return;
  if (world_.random.chance(quality_.loss)) return;
  const int copies = world_.random.chance(quality_.duplication) ? 2 : 1;
  for (int i = 0; i < copies; ++i)
    world_.after(delay(from, to, bytes.size()), [this, from, to, epoch = host(to).epoch, bytes]() mutable {
      arrive(from, to, epoch, std::move(bytes));
    });
}

void network::arrive(machine_id from, machine_id to, std::uint64_t, std::string bytes) {
  machine& h = host(to);
  if (!h.power || closed_.contains({from, to})) return;
  if (h.user == nullptr) {
    if (!open(to, from) || host(from).user == nullptr) return;
    world_.after(delay(to, from, 0), [this, from, to] {
      if (host(from).user != nullptr && !host(from).paused) host(from).user->on_unreachable(to);
    });
    return;
  }
  if (h.paused) {
    if (h.socket.size() < socket_datagrams_max) h.socket.push_back({from, std::move(bytes)});
    return;
  }
  world_.mix(static_cast<std::uint64_t>(world_.now().time_since_epoch().count()));
  world_.mix(bytes);
  h.user->on_datagram(from, std::move(bytes));
}

// ---- streams

network::stream* network::find(stream_id s) {
  const auto at = streams_.find(s);
  return at == streams_.end() ? nullptr : at->second.get();
}

void network::forget(stream_id id) {
  const auto at = streams_.find(id);
  for (const half& end : at->second->ends) host(end.at).streams.erase(id);
  streams_.erase(at);
}

stream_id network::dial(machine_id from, machine_id to, stream_use use) {
  const stream_id id = next_stream_++;
  auto s = std::make_unique<stream>();
  s->use = use;
  s->ends[0] = {.at = from, .epoch = host(from).epoch, .open = true};
  s->ends[1] = {.at = to};
  s->dialled = world_.now();
  streams_.emplace(id, std::move(s));
  host(from).streams.insert(id);
  host(to).streams.insert(id);
  world_.after(delay(from, to, 0), [this, id] { knock(id); });
  if (world_.deep) world_.note("stream {} from {} to {} is dialled", id, from, to);
  return id;
}

// The first segment is there, or would be.
void network::knock(stream_id id) {
  stream* s = find(id);
  if (s == nullptr || !s->ends[0].open) return end(id, 0, false);
  const machine_id from = s->ends[0].at, to = s->ends[1].at;
  const bool lost = !carries(from, to) || !carries(to, from) || world_.random.chance(quality_.loss);
  if (lost) {
    if (world_.now() - s->dialled >= connect_timeout) return end(id, 0, true);
    s->ends[0].backoff = std::min(s->ends[0].backoff * 2 + retransmission, retransmission_max);
    world_.after(s->ends[0].backoff, [this, id] { knock(id); });
    return;
  }
  duration d{0};
  for (int i = 0; i < handshake_flights; ++i) d += delay(from, to, 500);
  world_.after(d, [this, id] { establish(id); });
}

void network::establish(stream_id id) {
  stream* s = find(id);
  if (s == nullptr) return;
  half &caller = s->ends[0], &called = s->ends[1];
  if (!caller.open) return end(id, 0, false);
  machine& there = host(called.at);
  const bool no_way = !carries(caller.at, called.at) || !carries(called.at, caller.at);
  if (no_way || there.paused) { // the handshake waits for who stands still
    if (world_.now() - s->dialled >= connect_timeout) return end(id, 0, true);
    world_.after(retransmission, [this, id] { establish(id); });
    return;
  }
  if (there.user == nullptr) return end(id, 0, true); // refused
  called.open = true;
  called.epoch = there.epoch;
  caller.backoff = duration{0};
  s->established = true;
  if (world_.deep) world_.note("stream {} is open", id);
  watch(id);
  const stream_use use = s->use;
  const machine_id a = caller.at, b = called.at;
  there.user->on_stream_open(id, a, use, false);
  stream* still = find(id);
  if (still != nullptr && still->ends[0].open && host(a).user != nullptr) host(a).user->on_stream_open(id, b, use, true);
}

void network::write(stream_id id, machine_id by, std::string bytes) {
  stream* s = find(id);
  if (s == nullptr) return;
  const int side = side_of(*s, by);
  half& h = s->ends[side];
  if (!h.open || !s->established) return;
  duration d = delay(h.at, s->ends[1 - side].at, 0);
  while (world_.random.chance(quality_.loss)) d += retransmission;
  // The line is taken for as long as the bytes need.
  mono_time free = std::max(world_.now(), h.line_free);
  for (const std::uint64_t rate : {quality_.bytes_per_s, host(h.at).bytes_per_s, host(s->ends[1 - side].at).bytes_per_s})
    if (rate > 0) free += duration(static_cast<std::int64_t>(bytes.size() * 1'000'000 / rate));
  h.line_free = free;
  h.last_ready = std::max(h.last_ready, free + d);
  h.bytes += bytes.size();
  h.sent.push_back({std::move(bytes), h.last_ready});
  if (!h.moving) arm(id, side, h.last_ready);
}

std::size_t network::queued(stream_id id, machine_id by) const {
  const auto at = streams_.find(id);
  return at == streams_.end() ? 0 : at->second->ends[side_of(*at->second, by)].bytes;
}

void network::arm(stream_id id, int side, mono_time when) {
  find(id)->ends[side].moving = true;
  world_.at(when, [this, id, side] { move(id, side); });
}

void network::move(stream_id id, int side) {
  stream* s = find(id);
  if (s == nullptr) return;
  half &from = s->ends[side], &to = s->ends[1 - side];
  from.moving = false;
  if (!from.open || from.sent.empty()) return;
  if (!carries(from.at, to.at) || !carries(to.at, from.at)) { // nothing goes, or nothing is acknowledged
    if (from.stalled == mono_time{}) from.stalled = world_.now();
    if (world_.now() - from.stalled >= user_timeout) return end(id, side, true);
    from.backoff = std::min(from.backoff * 2 + retransmission, retransmission_max);
    return arm(id, side, world_.now() + from.backoff);
  }
  from.stalled = {};
  from.backoff = duration{0};
  if (!to.open) return reset_after(id, side);
  if (host(to.at).paused) return; // its kernel's buffer; goes on when it wakes
  std::string bytes;
  while (!from.sent.empty() && from.sent.front().ready <= world_.now()) {
    bytes += from.sent.front().bytes;
    from.bytes -= from.sent.front().bytes.size();
    from.sent.pop_front();
  }
  if (!from.sent.empty()) arm(id, side, std::max(from.sent.front().ready, world_.now()));
  if (bytes.empty()) return;
  world_.mix(id * 2 + static_cast<std::uint64_t>(side));
  world_.mix(static_cast<std::uint64_t>(world_.now().time_since_epoch().count()));
  world_.mix(bytes);
  host(to.at).user->on_stream_bytes(id, bytes);
}

void network::close(stream_id id, machine_id by) {
  stream* s = find(id);
  if (s == nullptr) return;
  end(id, side_of(*s, by), false);
}

// This end is over; the other hears of it if anything can be heard.
void network::end(stream_id id, int side, bool tell) {
  stream* s = find(id);
  if (s == nullptr) return;
  half& h = s->ends[side];
  const bool was_open = std::exchange(h.open, false);
  const machine_id at = h.at;
  const bool mine = h.epoch == host(at).epoch;
  if (world_.deep) world_.note("stream {} has ended for {}", id, at);
  h.sent.clear();
  h.bytes = 0;
  if (s->ends[1 - side].open) reset_after(id, 1 - side);
  else forget(id);
  if (tell && was_open && mine && host(at).user != nullptr) host(at).user->on_stream_closed(id);
}

// A FIN or RST is on its way to that end; lost in a cut, it is never sent again.
void network::reset_after(stream_id id, int side) {
  const stream* s = find(id);
  const machine_id to = s->ends[side].at, from = s->ends[1 - side].at;
  if (!carries(from, to)) return;
  world_.after(delay(from, to, 0), [this, id, side, from, to] {
    const stream* x = find(id);
    if (x != nullptr && x->ends[side].open && carries(from, to)) end(id, side, true);
  });
}

// Keep-alive: who hears nothing for 25 s gives up; and an end whose other end is gone learns it.
void network::watch(stream_id id) {
  world_.after(watch_period, [this, id] {
    stream* s = find(id);
    if (s == nullptr) return;
    if (!s->ends[0].open && !s->ends[1].open) {
      forget(id);
      return;
    }
    const bool way = carries(s->ends[0].at, s->ends[1].at) && carries(s->ends[1].at, s->ends[0].at);
    if (way) s->cut_since = {};
    else if (s->cut_since == mono_time{}) s->cut_since = world_.now();
    watch(id);
    const bool given_up = !way && world_.now() - s->cut_since >= keep_alive;
    for (int side : {0, 1}) {
      s = find(id);
      if (s == nullptr || !s->ends[side].open) continue;
      if (given_up) end(id, side, true);
      else if (way && !s->ends[1 - side].open) reset_after(id, side);
    }
  });
}

} // namespace skald::sim
