#include "roles/proxy/legs.hpp"

#include "base/metrics.hpp"
#include "roles/proxy/farewell.hpp"
#include "roles/proxy/identity.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter begun("skald_legs_total", "Requests to UAs and foreign servers: legs, and copies that attach to one.", R"(how="begun")");
metrics::counter attached("skald_legs_total", "Requests to UAs and foreign servers: legs, and copies that attach to one.",
                          R"(how="attached")");
metrics::counter replaced("skald_leg_waiters_replaced_total", "Waiters of a leg whose place a newer copy took.");
metrics::counter late("skald_leg_copies_late_total", "Copies that came after the one that replaces them.");
metrics::counter paused("skald_leg_rounds_paused_total", "Requests held back: their UA had answered the same 5 s before.");
constexpr std::string_view limit_name = "skald_leg_limit_total", limit_help = "What a worker's legs did not remember, being over a limit.";
metrics::counter legs_unremembered(limit_name, limit_help, R"(what="leg")");
metrics::counter waiters_displaced(limit_name, limit_help, R"(what="waiter")");
metrics::counter responses_unremembered(limit_name, limit_help, R"(what="response")");
metrics::counter farewells("skald_orphan_calls_ended_total", "2xx that nobody took: acknowledged and ended with BYE.");

bool is_invite(const sip::message& m) {
  return m.method_id() == sip::method::invite;
}

std::string text_of(const sip::message& m, sip::header h) {
  return std::string(m.line(h).value_or(std::string_view{}));
}

} // namespace

struct legs::leg {
  std::uint64_t serial = 0;
  leg_request r;
  leg_key caller{};
  bool known = false; // under its key: copies find it
  bool ended = false; // its transaction did
  sip::client_id client = sip::client_id::none;
  timer_id timer = timer_id::none; // until it is sent, and after its end until it is forgotten
  std::vector<waiter> waiters;
  std::vector<sip::message> provisional;
  std::vector<sip::message> successes; // one for each To tag
  std::optional<sip::message> rejection;
  std::vector<std::string> settled; // To tags whose 2xx was acknowledged
  sip::arrival last;

  bool answered() const { return rejection || !successes.empty(); }
  bool wanted() const {
    return std::ranges::any_of(waiters, [](const waiter& w) { return !w.left; });
  }
};

legs::legs(worker_env& env, via_writer& vias, leg_index& index, leg_user& user)
    : env_(env), vias_(vias), index_(index), user_(user) {}

legs::~legs() {
  *alive_ = false;
  for (auto& [serial, l] : by_serial_)
    env_.timers.cancel(l->timer);
}

waiter_id legs::next_id() {
  return waiter_id{static_cast<std::uint64_t>(env_.worker) << 48 | ++next_waiter_};
}

template <class What> void legs::at(std::uint16_t worker, What what) {
  if (worker == env_.worker) return what(*this);
  if (worker >= siblings_.size() || siblings_[worker] == nullptr) return;
  env_.flows.run_on(worker, [there = siblings_[worker], what = std::move(what)]() mutable { what(*there); });
}

template <class What> void legs::tell(const waiter& who, What what) {
  at(who.worker, [id = who.id, what = std::move(what)](legs& there) mutable { what(there, id); });
}

void legs::unanswered(std::set<std::string>& call_ids) const {
  for (const auto& [serial, l] : by_serial_)
    if (is_invite(l->r.request) && !l->answered() && !l->ended) call_ids.insert(text_of(l->r.request, sip::header::call_id));
}

// ---- from who waits

void legs::join(waiter_id who, leg_request r) {
  const waiter w{who, env_.worker, r.origin, r.turn, false, false};
  const bool begins = r.use == leg_use::begin;
  const std::uint16_t home = begins ? index_.claim(r.key, env_.worker) : index_.find(r.key).value_or(env_.worker);
  home_[who] = home;
  at(home, [w, r = std::move(r)](legs& there) mutable { there.join_here(w, std::move(r)); });
}

void legs::leave(waiter_id who, std::string_view reason) {
  const auto it = home_.find(who);
  if (it == home_.end()) return;
  at(it->second, [who, reason = std::string(reason)](legs& there) { there.leave_here(who, reason); });
}

void legs::abandon(waiter_id who) {
  const auto it = home_.find(who);
  if (it == home_.end()) return;
  const std::uint16_t home = it->second;
  home_.erase(it);
  at(home, [who](legs& there) { there.abandon_here(who); });
}

void legs::orphaned(waiter_id who, std::string_view reason) {
  at(worker_of(who) == env_.worker && home_.contains(who) ? home_[who] : env_.worker,
     [who, reason = std::string(reason)](legs& there) { there.orphaned_here(who, reason); });
}

// ---- on the leg's worker

legs::leg_ptr legs::leg_of(waiter_id who) const {
  const auto it = by_waiter_.find(who);
  return it == by_waiter_.end() ? nullptr : it->second;
}

void legs::join_here(waiter who, leg_request r) {
  if (const auto it = by_key_.find(r.key); it != by_key_.end()) return attach(it->second, who);
  if (r.use == leg_use::begin) return begin(who, std::move(r));
  tell(who, [](legs& there, waiter_id id) {
    there.home_.erase(id);
    there.user_.on_leg_failure(id, sip::client_failure::flow_gone);
    there.user_.on_leg_ended(id);
  });
}

void legs::attach(const leg_ptr& l, waiter who) {
  const auto gone = [](legs& there, waiter_id id) {
    there.home_.erase(id);
    there.user_.on_leg_replaced(id);
  };
  const auto same = [&](const waiter& w) { return w.origin == who.origin; };
  if (std::ranges::any_of(l->waiters, [&](const waiter& w) { return same(w) && w.turn > who.turn; })) {
    late.add();
    return tell(who, gone);
  }
  std::vector<waiter> out;
  for (const waiter& w : l->waiters)
    if (same(w) || is_subscribers(l->r.attempt)) out.push_back(w);
  if (out.empty() && l->waiters.size() >= waiters_per_leg_max) {
    waiters_displaced.add();
    out.push_back(l->waiters.front());
  }
  for (const waiter& w : out)
    drop(*l, w.id);
  attached.add();
  l->waiters.push_back(who);
  by_waiter_[who.id] = l;
  const auto say = [&](const sip::message& m) {
    tell(who, [m, from = l->last](legs& there, waiter_id id) { there.user_.on_leg_response(id, m, from); });
  };
  if (!l->answered())
    for (const sip::message& m : std::vector(l->provisional))
      say(m);
  for (const sip::message& m : std::vector(l->successes))
    say(m);
  if (l->rejection) say(*l->rejection);
  for (const waiter& w : out) {
    replaced.add();
    tell(w, gone);
  }
  if (!l->ended || leg_of(who.id) == nullptr) return;
  drop(*l, who.id);
  tell(who, [](legs& there, waiter_id id) {
    there.home_.erase(id);
    there.user_.on_leg_ended(id);
  });
}

void legs::begin(waiter who, leg_request r) {
  auto l = std::make_shared<leg>();
  l->serial = ++next_serial_;
  l->r = std::move(r);
  l->caller = caller_key_of(text_of(l->r.request, sip::header::call_id), tag_of(l->r.request, sip::header::from));
  l->waiters.push_back(who);
  by_waiter_[who.id] = l;
  by_serial_[l->serial] = l;
  if (by_serial_.size() <= legs_max) {
    l->known = true;
    by_key_[l->r.key] = l;
  } else {
    legs_unremembered.add();
    index_.release(l->r.key, env_.worker);
  }
  const mono_time now = env_.clock.now(), earliest = index_.quiet_until(l->r.ua);
  if (earliest <= now) return send(l);
  paused.add();
  l->timer = env_.timers.at(earliest, [this, weak = std::weak_ptr(l)] {
    const leg_ptr l = weak.lock();
    if (!l) return;
    l->timer = timer_id::none;
    send(l);
  });
}

void legs::send(const leg_ptr& l) {
  begun.add();
  sip::message m = l->r.request;
  vias_.put(m, l->r.flow, l->r.loop_hash, *l->r.names);
  l->client = env_.transactions->send_request(m, l->r.flow);
  by_client_[l->client] = l;
}

void legs::leave_here(waiter_id who, const std::string& reason) {
  const leg_ptr l = leg_of(who);
  if (!l) return;
  const auto w = std::ranges::find(l->waiters, who, &waiter::id);
  w->left = true;
  if (!l->wanted()) return nobody_waits(l, reason);
  const waiter copy = *w;
  drop(*l, who);
  tell(copy, [](legs& there, waiter_id id) {
    there.home_.erase(id);
    there.user_.on_leg_replaced(id);
  });
}

void legs::abandon_here(waiter_id who) {
  const leg_ptr l = leg_of(who);
  if (!l) return;
  drop(*l, who);
  if (!l->wanted()) nobody_waits(l, {});
}

// A cancelled request is forgotten, so that a copy starts anew; one that was answered is not cancelled any more.
void legs::nobody_waits(const leg_ptr& l, const std::string& reason) {
  if (l->answered() || l->ended) return;
  forget_key(*l);
  if (l->client != sip::client_id::none && is_invite(l->r.request)) {
    env_.transactions->cancel(l->client, reason);
    return;
  }
  if (l->client != sip::client_id::none) env_.transactions->abandon(l->client);
  for (const waiter& w : std::vector(l->waiters)) {
    drop(*l, w.id);
    tell(w, [](legs& there, waiter_id id) {
      there.home_.erase(id);
      there.user_.on_leg_replaced(id);
    });
  }
  forget(l);
}

void legs::drop(leg& l, waiter_id who) {
  by_waiter_.erase(who);
  std::erase_if(l.waiters, [who](const waiter& w) { return w.id == who; });
}

void legs::forget_key(leg& l) {
  if (!l.known) return;
  l.known = false;
  by_key_.erase(l.r.key);
  index_.release(l.r.key, env_.worker);
}

void legs::forget(const leg_ptr& l) {
  forget_key(*l);
  env_.timers.cancel(std::exchange(l->timer, timer_id::none));
  for (const waiter& w : l->waiters)
    by_waiter_.erase(w.id);
  if (l->client != sip::client_id::none) by_client_.erase(l->client);
  l->settled.clear();
  l->successes.clear();
  settle_acks(l);
  by_serial_.erase(l->serial);
}

// ---- from the transaction layer

bool legs::on_response(sip::client_id id, sip::message response, const sip::arrival& from) {
  const auto it = by_client_.find(id);
  if (it == by_client_.end()) return false;
  const leg_ptr l = it->second;
  response.remove_first_value(sip::header::via); // RFC 3261 §16.7 step 3
  if (!response.has(sip::header::via)) return true;
  l->last = from;
  remember(l, response);
  for (const waiter& w : std::vector(l->waiters))
    tell(w, [response, from](legs& there, waiter_id who) { there.user_.on_leg_response(who, response, from); });
  return true;
}

void legs::remember(const leg_ptr& l, const sip::message& response) {
  const int status = response.status();
  const std::string_view tag = tag_of(response, sip::header::to);
  if (status == 100) return;
  if (status < 200) {
    const auto rseq = response.line("RSeq");
    const bool had = std::ranges::any_of(l->provisional, [&](const sip::message& m) {
      return m.status() == status && tag_of(m, sip::header::to) == tag && m.line("RSeq") == rseq;
    });
    if (had) return;
    if (l->provisional.size() >= responses_per_leg_max) return responses_unremembered.add();
    l->provisional.push_back(response);
    return;
  }
  if (status >= 300) {
    if (!l->rejection) l->rejection = response;
    const mono_time now = env_.clock.now();
    if (is_invite(l->r.request)) index_.keep_quiet(l->r.ua, now, now + round_pause);
    return;
  }
  for (const sip::message& m : l->successes)
    if (tag_of(m, sip::header::to) == tag) return;
  if (l->successes.size() >= responses_per_leg_max) return responses_unremembered.add();
  if (is_invite(l->r.request) && l->successes.empty()) {
    unacknowledged_.emplace(l->caller, l);
    index_.expect_ack(l->caller, env_.worker);
  }
  l->successes.push_back(response);
}

bool legs::on_failure(sip::client_id id, sip::client_failure why) {
  const auto it = by_client_.find(id);
  if (it == by_client_.end()) return false;
  const leg_ptr l = it->second;
  const std::vector<waiter> waiters = l->waiters;
  forget(l); // before anybody is told: who tries again begins anew
  for (const waiter& w : waiters)
    tell(w, [why](legs& there, waiter_id who) {
      there.home_.erase(who);
      there.user_.on_leg_failure(who, why);
      there.user_.on_leg_ended(who);
    });
  return true;
}

bool legs::on_client_ended(sip::client_id id) {
  const auto it = by_client_.find(id);
  if (it == by_client_.end()) return false;
  const leg_ptr l = it->second;
  by_client_.erase(it);
  l->client = sip::client_id::none;
  l->ended = true;
  const std::vector<waiter> waiters = std::move(l->waiters);
  l->waiters.clear();
  for (const waiter& w : waiters)
    by_waiter_.erase(w.id);
  if (l->answered() && (l->known || !l->successes.empty()))
    l->timer = env_.timers.at(env_.clock.now() + leg_memory, [this, weak = std::weak_ptr(l)] {
      if (const leg_ptr l = weak.lock()) forget(l);
    });
  else
    forget(l);
  for (const waiter& w : waiters)
    tell(w, [](legs& there, waiter_id who) {
      there.home_.erase(who);
      there.user_.on_leg_ended(who);
    });
  return true;
}

// ---- a 2xx that nobody takes

std::vector<legs::leg_ptr> legs::legs_of_caller(const leg_key& caller) const {
  std::vector<leg_ptr> out;
  for (auto [it, end] = unacknowledged_.equal_range(caller); it != end; ++it)
    out.push_back(it->second);
  return out;
}

void legs::saw_ack(const sip::message& ack) {
  const leg_key caller = caller_key_of(ack.line(sip::header::call_id).value_or(std::string_view{}),
                                       tag_of(ack, sip::header::from));
  const std::string to_tag(tag_of(ack, sip::header::to));
  const auto workers = index_.who_expects_ack(caller);
  for (const std::uint16_t w : workers)
    at(w, [caller, to_tag](legs& there) { there.ack_here(caller, to_tag); });
}

void legs::ack_here(const leg_key& caller, const std::string& to_tag) {
  for (const leg_ptr& l : legs_of_caller(caller)) {
    const bool theirs = std::ranges::any_of(
        l->successes, [&](const sip::message& m) { return tag_of(m, sip::header::to) == to_tag; });
    if (!theirs || std::ranges::find(l->settled, to_tag) != l->settled.end()) continue;
    l->settled.push_back(to_tag);
    settle_acks(l);
  }
}

// Once every 2xx of a leg is settled, its ACK is not waited for any more.
void legs::settle_acks(const leg_ptr& l) {
  if (l->settled.size() < l->successes.size()) return;
  for (auto [it, end] = unacknowledged_.equal_range(l->caller); it != end; ++it)
    if (it->second == l) {
      unacknowledged_.erase(it);
      return index_.ack_settled(l->caller, env_.worker);
    }
}

void legs::orphaned_here(waiter_id who, const std::string& reason) {
  const leg_ptr l = leg_of(who);
  if (!l) return;
  for (waiter& w : l->waiters)
    if (w.id == who) w.orphaned = true;
  const bool all = std::ranges::all_of(l->waiters, [](const waiter& w) { return w.orphaned || w.left; });
  if (all) farewell_to_all(l, reason);
}

void legs::end_unless_acknowledged(const sip::message& bye) {
  const leg_key caller = caller_key_of(bye.line(sip::header::call_id).value_or(std::string_view{}),
                                       tag_of(bye, sip::header::from));
  const std::string to_tag(tag_of(bye, sip::header::to));
  const std::string reason = text_of(bye, sip::header::reason);
  const auto workers = index_.who_expects_ack(caller);
  for (const std::uint16_t w : workers)
    at(w, [caller, to_tag, reason](legs& there) { there.end_here(caller, to_tag, reason); });
}

void legs::end_here(const leg_key& caller, const std::string& to_tag, const std::string& reason) {
  for (const leg_ptr& l : legs_of_caller(caller))
    say_farewell(l, to_tag, reason);
}

void legs::say_farewell(const leg_ptr& l, const std::string& to_tag, const std::string& reason) {
  if (std::ranges::find(l->settled, to_tag) != l->settled.end()) return;
  const auto it = std::ranges::find_if(
      l->successes, [&](const sip::message& m) { return tag_of(m, sip::header::to) == to_tag; });
  if (it == l->successes.end()) return;
  const endpoint& local = l->r.flow.local;
  auto ack = make_as_caller(*l->r.names, local, *it, "ACK", 0);
  auto bye = make_as_caller(*l->r.names, local, *it, "BYE", farewell_cseq_step);
  l->settled.push_back(to_tag);
  settle_acks(l);
  if (!ack || !bye) return;
  farewells.add();
  vias_.put(*ack, l->r.flow, 0, *l->r.names);
  env_.transactions->send_stateless(*ack, l->r.flow);
  if (!reason.empty()) bye->append(sip::header::reason, reason);
  vias_.put(*bye, l->r.flow, 0, *l->r.names);
  env_.transactions->abandon(env_.transactions->send_request(*bye, l->r.flow));
}

void legs::farewell_to_all(const leg_ptr& l, const std::string& reason) {
  std::vector<std::string> tags;
  for (const sip::message& m : l->successes)
    tags.emplace_back(tag_of(m, sip::header::to));
  for (const std::string& tag : tags)
    say_farewell(l, tag, reason);
}

} // namespace skald::roles
