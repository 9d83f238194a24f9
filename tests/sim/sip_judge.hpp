#pragma once
// What the phones were told and saw, and what of it breaks a promise (consistency.md §9, invariants 1, 2, 4, 5 and 6).
#include "tests/sim/cluster.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skald::sim {

// A request as its sender and its receiver know it: Call-ID, From tag and CSeq number.
struct attempt_key {
  std::string call_id, from_tag;
  std::uint32_t cseq = 0;
  auto operator<=>(const attempt_key&) const = default;
};

class sip_judge {
public:
  explicit sip_judge(cluster& home) : home_(home) {}

  // With overlapping faults, or across cuts, some of it is not promised: it is counted instead.
  std::function<bool(mono_time since)> strict = [](mono_time) { return true; };

  // ---- machines: looked at often
  void look_at_machines();
  bool undisturbed(machine_id m, mono_time since) const; // one process, that never stood still
  // The only machine without a process, and since when; all others are undisturbed since then.
  std::optional<std::pair<machine_id, mono_time>> only_dead() const;

  // ---- a phone's requests
  void sent(const std::string& branch, std::string_view method, machine_id edge);
  void final_seen(const std::string& branch, std::string_view method, int status, std::string_view to_tag);
  void unanswered(const std::string& branch, std::string_view method, std::string_view who);
  void refused(std::string_view method, int status, std::string_view who, bool unauthenticated);

  // ---- calls, as the callee sees them
  void invite_seen(int phone, const attempt_key& a, const std::string& branch, machine_id edge);
  void invite_ended(int phone, const attempt_key& a, const std::string& branch, bool success);
  void caller_ended(const std::string& call_id); // answered otherwise, or it gave up
  void not_reached(std::string_view caller, int callee, int status, mono_time began); // an INVITE to a phone that is there
  void not_acknowledged(int phone, mono_time answered);                              // its 2xx
  void farewell_seen(int phone, const std::string& call_id, const std::string& branch); // a BYE that the cluster made
  void ping_seen(int phone, machine_id from);
  void registered_through(int phone, machine_id edge); // or removed; a 200 that came
  void look_at_ringing();

  // ---- registrations
  struct registration {
    std::string aor, contact, call_id;
    std::uint32_t cseq = 0;
    bool there = false;      // acknowledged: registered, or (false) removed
    bool known = false;      // some answer came at all
    bool in_doubt = false;   // something later was not answered with 200
    bool alone = false;      // acknowledged with a base of one or two
    machine_id edge = -1;    // that it was answered through
    mono_time answered{}, until{};
  };
  registration& of(int phone) { return registrations_[phone]; }
  const std::map<int, registration>& registrations() const { return registrations_; }
  void note_crash(machine_id m, crash_kind how);
  bool may_be_lost(const registration& r) const;

  std::size_t tolerated() const { return tolerated_; }
  std::size_t finals() const { return finals_; }
  void forget_old();

private:
  struct asked {
    machine_id edge;
    mono_time at;
    int status = 0;
    std::string to_tag;
  };
  struct leg {
    std::string branch;
    machine_id edge;
    mono_time began, ended{};
    bool over = false, success = false, told = false;
  };
  bool all_undisturbed(mono_time since) const;
  void breach(int invariant, mono_time since, std::string what);

  cluster& home_;
  struct seen_machine {
    std::uint64_t process = 0;
    mono_time disturbed{}, died{};
  };
  std::map<machine_id, seen_machine> machines_;
  std::map<std::string, asked> asked_;
  std::map<std::pair<int, attempt_key>, std::vector<leg>> legs_;
  std::map<std::string, mono_time> ended_calls_;
  std::map<std::pair<int, std::string>, std::string> farewells_; // of a phone's call: the branch
  struct held_by {
    machine_id edge = -1;
    mono_time since{};
    std::map<machine_id, mono_time> last; // of each edge: when the phone was last registered by it
  };
  std::map<int, held_by> edges_;
  std::map<int, registration> registrations_;
  std::vector<std::pair<mono_time, crash_kind>> losses_;
  std::size_t tolerated_ = 0, finals_ = 0;
};

} // namespace skald::sim
