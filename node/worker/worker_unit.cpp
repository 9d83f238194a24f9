#include "node/worker/worker_unit.hpp"

#include <algorithm>
#include <utility>

namespace skald::node {

outcome<std::unique_ptr<worker_unit>> worker_unit::make(worker& io, const clock& clk, roles::cluster_port& cluster,
                                                        roles::replay_memory& replays, roles::edge_state& edge) {
  auto dns = dns_client::make(io.events());
  if (!dns) return std::unexpected(dns.error());
  return std::unique_ptr<worker_unit>(new worker_unit(io, clk, cluster, replays, edge, std::move(*dns)));
}

worker_unit::worker_unit(worker& io, const clock& clk, roles::cluster_port& cluster, roles::replay_memory& replays,
                         roles::edge_state& edge, std::unique_ptr<dns_client> dns)
    : io_(io), clock_(clk), dns_(std::move(dns)),
      stack_({io.config().index, clk, io.events().timers(), random_, cluster, io, io, *dns_, replays, edge}) {
  io_.set_user(*this);
  stack_.set_keeper(*this);
  watch_load();
}

worker_unit::~worker_unit() {
  io_.events().timers().cancel(load_timer_);
  io_.events().timers().cancel(serve_timer_);
  io_.events().undefer(*this);
}

void worker_unit::watch_load() {
  load_timer_ = io_.events().timers().at(clock_.now() + roles::admission_interval, [this] {
    load_signs& load = io_.group().load;
    stack_.admission().tick(load.floor());
    load.tell(io_.config().index, stack_.admission().level());
    watch_load();
  });
}

bool worker_unit::at_once(roles::urgency u, const sip::arrival& from) {
  if (!turn_counted_) {
    turn_counted_ = true;
    io_.events().defer(*this);
  }
  return stack_.admission().at_once(u, lines_.empty() ? clock_.now() - from.at : roles::others_wait);
}

void worker_unit::on_turn_end() {
  turn_counted_ = false;
  stack_.admission().turn_ended();
}

bool worker_unit::takes(std::string_view bytes, const sip::arrival& from) {
  const ip_address& source = from.flow.remote.ip;
  stack_.admission().heard(source);
  if (from.flow.transport == sip::transport::udp) unread_waited_ = std::max(unread_waited_, clock_.now() - from.at);
  const auto u = stack_.admission().floods(source) ? std::optional(roles::urgency::flood) : roles::first_look(bytes);
  if (!u || (stack_.has_room(*u) && at_once(*u, from))) return true;
  wait_in_line(*u, {std::string(bytes), std::nullopt, from}, bytes.size());
  return false;
}

void worker_unit::keep(roles::urgency u, sip::message m, const sip::arrival& from) {
  constexpr std::size_t about = sizeof(kept) + 2048;
  wait_in_line(u, {{}, std::move(m), from}, about);
}

void worker_unit::wait_in_line(roles::urgency u, kept what, std::size_t bytes) {
  if (!stack_.has_room(u) || !lines_.has_place(u, bytes)) return dispose(std::move(what), u, stack_.admission().turn_away(u));
  lines_.push(u, std::move(what), bytes, clock_.now());
  if (serve_timer_ == timer_id::none) serve_soon();
}

void worker_unit::serve_soon() {
  if (serving_soon_) return;
  serving_soon_ = true;
  io_.events().post_always([this] {
    serving_soon_ = false;
    serve_lines();
  });
}

// Sockets are read in between: a task that is posted stands behind what is ready.
void worker_unit::serve_lines() {
  serve_timer_ = timer_id::none;
  mono_time now = clock_.now();
  stack_.admission().held_up(io_.group().load.cluster_waits(now) > roles::standing_queue);
  const duration slice = std::exchange(unread_waited_, duration{0}) > roles::standing_queue ? serve_time_behind : serve_time;
  for (const mono_time until = now + slice; now < until; now = clock_.now()) {
    auto t = lines_.next(stack_.admission(), now);
    if (t) {
      dispose(std::move(t->item), t->line, t->what);
      continue;
    }
    if (!lines_.empty()) serve_timer_ = io_.events().timers().at(now + hold_up_pause, [this] { serve_lines(); });
    return;
  }
  serve_soon(); // with empty lines too: admission sees then that nobody waits any more
}

void worker_unit::dispose(kept what, roles::urgency u, roles::fate how) {
  if (sip::is_stream(what.from.flow.transport) && !io_.alive(what.from.flow)) return;
  if (how != roles::fate::serve) {
    if (what.parsed) stack_.turn_away(std::move(*what.parsed), what.from, u, how);
    else stack_.turn_away(std::move(what.bytes), what.from, u, how);
  } else if (what.parsed) stack_.take(std::move(*what.parsed), what.from);
  else io_.take_up(what.bytes, what.from);
}

} // namespace skald::node
