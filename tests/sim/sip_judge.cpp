#include "tests/sim/sip_judge.hpp"

#include "tests/sim/process.hpp"

#include <algorithm>
#include <utility>

namespace skald::sim {
namespace {

constexpr duration round_pause = seconds(5);       // sip.md §6: T4 between two rounds to one phone
constexpr duration rings_on_at_most = seconds(12); // the orphan rule's 6 s, a node's death noticed before, and CANCELs that were lost
constexpr duration settled_within = seconds(10);   // of a node's return, until all is as before
constexpr duration pings_end_within = seconds(10); // one that was lost is sent again for a while
constexpr duration remembered = seconds(180);
constexpr duration losses_count_for = seconds(60), synced_within = milliseconds(1500);

double s(mono_time t) { return static_cast<double>((t - world::began).count()) / 1e6; }

} // namespace

// ---- machines

void sip_judge::look_at_machines() {
  for (machine_id m = 0; m < home_.size(); ++m) {
    machine& at = home_.at(m);
    seen_machine& seen = machines_[m];
    const std::uint64_t process = at.running() ? at.proc().number() : 0;
    if (process == 0 || process != seen.process || at.paused()) seen.disturbed = home_.time.now();
    if (process == 0 && seen.process != 0) seen.died = home_.time.now();
    seen.process = process;
  }
}

std::optional<std::pair<machine_id, mono_time>> sip_judge::only_dead() const {
  std::optional<std::pair<machine_id, mono_time>> out;
  for (const auto& [m, seen] : machines_)
    if (seen.process == 0 && !home_.at(m).left) {
      if (out) return std::nullopt;
      out = {m, seen.died};
    }
  if (!out) return out;
  for (const auto& [m, seen] : machines_)
    if (seen.process != 0 && (!undisturbed(m, out->second) || !home_.at(m).proc().serving())) return std::nullopt;
  return out;
}

bool sip_judge::undisturbed(machine_id m, mono_time since) const {
  const auto at = machines_.find(m);
  return at != machines_.end() && at->second.process != 0 && at->second.disturbed < since && home_.at(m).running() &&
         home_.at(m).proc().number() == at->second.process;
}

void sip_judge::breach(int invariant, mono_time since, std::string what) {
  if (strict(since)) return home_.fail(invariant, std::move(what));
  ++tolerated_;
  home_.time.note("tolerated: {}", what);
}

// ---- requests

void sip_judge::sent(const std::string& branch, std::string_view, machine_id edge) { asked_[branch] = {edge, home_.time.now()}; }

void sip_judge::final_seen(const std::string& branch, std::string_view method, int status, std::string_view to_tag) {
  const auto at = asked_.find(branch);
  if (at == asked_.end() || method == "CANCEL") return; // a CANCEL has the branch of its INVITE
  asked& a = at->second;
  if (a.status == 0) {
    a.status = status;
    a.to_tag = to_tag;
    ++finals_;
    return;
  }
  if (a.status == status && a.to_tag == to_tag) return; // sent again
  if (!undisturbed(a.edge, a.at)) return;
  breach(5, a.at, fmt::format("one {} sent to {} at {:.3f} is answered {} and then {}", method, home_.at(a.edge).spec.name, s(a.at), a.status, status));
}

void sip_judge::unanswered(const std::string& branch, std::string_view method, std::string_view who) {
  const auto at = asked_.find(branch);
  if (at == asked_.end() || at->second.status != 0 || !undisturbed(at->second.edge, at->second.at)) return;
  breach(5, at->second.at, fmt::format("{} of {}, sent to {} at {:.3f}, has no final answer", method, who, home_.at(at->second.edge).spec.name, s(at->second.at)));
}

// Everybody here is a subscriber, and knows his password.
void sip_judge::refused(std::string_view method, int status, std::string_view who, bool unauthenticated) {
  breach(4, home_.time.now() - seconds(5), fmt::format("{} of {}{} is answered {}", method, who, unauthenticated ? ", without credentials," : "", status));
}

// ---- calls

void sip_judge::invite_seen(int phone, const attempt_key& a, const std::string& branch, machine_id edge) {
  const mono_time now = home_.time.now();
  auto& legs = legs_[{phone, a}];
  for (const leg& l : legs) {
    if (l.branch == branch || !undisturbed(l.edge, l.began)) continue;
    if (l.over && !l.success && now - l.ended >= round_pause) continue;
    const char* const how = !l.over ? "still rings" : l.success ? "was answered" : "was refused a moment ago";
    breach(5, l.began, fmt::format("phone{} sees a second INVITE of one attempt ({}), from {}; the first, of {:.3f} from {}, {}", phone, a.call_id,
                                   edge < 0 ? "nowhere" : home_.at(edge).spec.name, s(l.began), home_.at(l.edge).spec.name, how));
  }
  legs.push_back({branch, edge, now});
}

void sip_judge::invite_ended(int phone, const attempt_key& a, const std::string& branch, bool success) {
  for (leg& l : legs_[{phone, a}])
    if (l.branch == branch) l.over = true, l.success = success, l.ended = home_.time.now();
}

void sip_judge::caller_ended(const std::string& call_id) { ended_calls_.emplace(call_id, home_.time.now()); }

void sip_judge::look_at_ringing() {
  for (auto& [where, legs] : legs_) {
    const auto ended = ended_calls_.find(where.second.call_id);
    if (ended == ended_calls_.end() || home_.time.now() - ended->second < rings_on_at_most) continue;
    for (leg& l : legs)
      if (!l.over && !std::exchange(l.told, true) && undisturbed(l.edge, l.began))
        return breach(5, l.began, fmt::format("phone{} rings on through {}, its caller's call {} ended at {:.3f}", where.first, home_.at(l.edge).spec.name,
                                              where.second.call_id, s(ended->second)));
  }
}

bool sip_judge::all_undisturbed(mono_time since) const {
  return std::ranges::all_of(machines_, [&](const auto& m) { return home_.at(m.first).left || undisturbed(m.first, since); });
}

// With all nodes well, whoever is registered is called: through an edge that has left for good not before he registers
// anew, as after its death. What the callee himself says (486, 603) and 487 are not meant.
void sip_judge::not_reached(std::string_view caller, int callee, int status, mono_time began) {
  if (status != 480 && status != 500 && status != 408) return;
  const registration& r = of(callee);
  const bool there = r.known && r.there && !r.in_doubt && r.answered < began && r.until > home_.time.now() + seconds(2);
  if (!there || may_be_lost(r) || !all_undisturbed(began - settled_within)) return;
  if (r.edge < 0 || home_.at(r.edge).left) return;
  breach(1, began - settled_within, fmt::format("{} calls phone{}, which is registered, and is answered {}", caller, callee, status));
}

void sip_judge::not_acknowledged(int phone, mono_time answered) {
  if (!all_undisturbed(answered - settled_within)) return;
  breach(5, answered - settled_within, fmt::format("phone{} answered a call at {:.3f}, and no ACK ever came", phone, s(answered)));
}

// Invariant 6: what the cluster does in a caller's stead, it does once.
void sip_judge::farewell_seen(int phone, const std::string& call_id, const std::string& branch) {
  const auto [at, first] = farewells_.try_emplace({phone, call_id}, branch);
  if (!first && at->second != branch) breach(6, home_.time.now(), fmt::format("phone{} is sent a second BYE by the cluster for {}", phone, call_id));
}

void sip_judge::registered_through(int phone, machine_id edge) {
  held_by& at = edges_[phone];
  if (std::exchange(at.edge, edge) != edge) at.since = home_.time.now();
  at.last[edge] = home_.time.now();
}

// Invariant 6: the edge that holds a phone's flow pings it, and no other. A former edge is told once, so it has to be
// one that could hear it: since the phone left it nothing happened to any node.
void sip_judge::ping_seen(int phone, machine_id from) {
  const held_by& at = edges_[phone];
  const auto left = at.last.find(from);
  if (left == at.last.end() || from == at.edge || of(phone).in_doubt || home_.time.now() < at.since + pings_end_within) return;
  if (!all_undisturbed(left->second)) return;
  breach(6, left->second, fmt::format("phone{} went from {} to {} at {:.3f}, and is still pinged by the former", phone, home_.at(from).spec.name,
                                      home_.at(at.edge).spec.name, s(at.since)));
}

// ---- registrations

void sip_judge::note_crash(machine_id, crash_kind how) {
  if (how != crash_kind::killed) losses_.emplace_back(home_.time.now(), how);
}

// A power cut takes at most what was not synced; two disks within the time of a repair may take all.
bool sip_judge::may_be_lost(const registration& r) const {
  if (r.alone) return !losses_.empty();
  std::size_t unsynced = 0, recent = 0;
  for (const auto& [at, how] : losses_) {
    if (at < r.answered) continue;
    unsynced += at - r.answered < synced_within || how == crash_kind::disk_gone;
    recent += std::ranges::count_if(losses_, [&, at = at](const auto& o) { return o.first >= r.answered && o.first <= at && at - o.first < losses_count_for; }) > 1;
  }
  return unsynced > 1 || recent > 0;
}

void sip_judge::forget_old() {
  const mono_time before = home_.time.now() - remembered;
  std::erase_if(asked_, [&](const auto& a) { return a.second.at < before; });
  std::erase_if(ended_calls_, [&](const auto& c) { return c.second < before; });
  std::erase_if(legs_, [&](const auto& l) { return std::ranges::all_of(l.second, [&](const leg& x) { return x.began < before; }); });
  std::erase_if(losses_, [&](const auto& l) { return l.first < before - remembered; });
}

} // namespace skald::sim
