#include "roles/proxy/keepalive.hpp"

#include "base/metrics.hpp"

namespace skald::roles {

namespace {
metrics::counter pings("skald_edge_keepalives_total", "OPTIONS sent to keep flows alive.");
metrics::counter flows_gone("skald_edge_flows_gone_total", "Flows that left three OPTIONS unanswered.");
metrics::counter not_watched("skald_edge_keepalives_refused_total", "Flows not kept alive: over a limit.");
} // namespace

void keepalive::watch(const sip::flow& f, std::string contact, mono_time until,
                      std::shared_ptr<const name_index> names) {
  const auto found = watched_.find(f);
  if (found == watched_.end() && watched_.size() >= keepalive_flows_max) return not_watched.add();
  entry& e = watched_[f];
  e.contact = std::move(contact);
  e.until = until;
  e.misses = 0;
  e.names = std::move(names);
  if (e.timer != timer_id::none || e.pending != sip::client_id::none) return;
  // Spread over the interval, so that a restart's avalanche of REGISTERs is no avalanche of OPTIONS each 25 s.
  const auto spread =
      static_cast<duration::rep>(env_.random.below(static_cast<std::uint64_t>(duration(keepalive_every).count()) / 5));
  arm(f, e, keepalive_every - duration(spread));
}

void keepalive::stop(const sip::flow& f) {
  const auto it = watched_.find(f);
  if (it == watched_.end()) return;
  env_.timers.cancel(it->second.timer);
  if (it->second.pending != sip::client_id::none) {
    env_.transactions->abandon(it->second.pending);
    asked_.erase(it->second.pending);
  }
  watched_.erase(it);
}

void keepalive::arm(const sip::flow& f, entry& e, duration after) {
  env_.timers.cancel(e.timer);
  e.timer = env_.timers.at(env_.clock.now() + after, [this, f] { ping(f); });
}

void keepalive::ping(const sip::flow& f) {
  const auto it = watched_.find(f);
  if (it == watched_.end()) return;
  entry& e = it->second;
  e.timer = timer_id::none;
  // Its bindings may have gone to other edges, which keep their own flows alive.
  if (e.until <= env_.clock.now() || !flows_.serves(f, env_.clock.now())) return stop(f);
  if (e.pending != sip::client_id::none) {
    env_.transactions->abandon(e.pending);
    asked_.erase(std::exchange(e.pending, sip::client_id::none));
    missed(f, e);
  }
  sip::message m = make_ping(e);
  calls_.put_via(m, f, 0, *e.names);
  pings.add();
  arm(f, e, keepalive_every);
  e.pending = env_.transactions->send_request(m, f);
  asked_[e.pending] = f;
}

sip::message keepalive::make_ping(const entry& e) {
  const std::string& domain = e.names->facts()->config->default_domain;
  sip::message m = sip::message::request("OPTIONS", e.contact);
  m.append(sip::header::max_forwards, "1");
  m.append(sip::header::from, "<sip:" + domain + ">;tag=" + calls_.unique_tag());
  m.append(sip::header::to, "<" + e.contact + ">");
  m.append(sip::header::call_id, calls_.unique_tag() + "@" + domain);
  m.append(sip::header::cseq, std::to_string(++cseq_ & 0x7fffffff) + " OPTIONS");
  return m;
}

void keepalive::missed(const sip::flow& f, entry& e) {
  if (++e.misses != keepalive_misses_max) return;
  flows_gone.add();
  flows_.mark_gone(f);
}

bool keepalive::on_response(sip::client_id id) {
  const auto it = asked_.find(id);
  if (it == asked_.end()) return false;
  const auto w = watched_.find(it->second);
  if (w != watched_.end() && w->second.pending == id) { // any final answer shows that the path is open
    w->second.pending = sip::client_id::none;
    w->second.misses = 0;
    flows_.mark_alive(it->second);
  }
  return true;
}

bool keepalive::on_failure(sip::client_id id) {
  const auto it = asked_.find(id);
  if (it == asked_.end()) return false;
  const auto w = watched_.find(it->second);
  if (w != watched_.end() && w->second.pending == id) {
    w->second.pending = sip::client_id::none;
    missed(w->first, w->second);
  }
  return true;
}

} // namespace skald::roles
